from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.gateway.config import FAILOVERS, FailoverGroup, Failovers
from atoll.gateway.failover import Look, Standing, decide, failover_entries, recalled, taken_over
from atoll.gateway.interim import interim
from atoll.gateway.plan import Reload, make_plan
from atoll.model.failover import Failover, FailoverWord, Group, parse_group
from atoll.model.names import ServiceName, Token
from atoll.model.service import Protocol
from tests.unit.gateway.facts import config, instance, intent, route, service, snapshot

ORDERS, LITE = ServiceName("orders"), ServiceName("lite")
SAID = Failovers(
    service=ORDERS,
    groups=(
        FailoverGroup(name="orders", section="slot:1", service=ORDERS),
        FailoverGroup(name="orders@zone:b", section="orders:z:b", service=ORDERS),
        FailoverGroup(name="lite", section="slot:2", service=LITE),
    ),
    error_rate=50,
    return_after=30.0,
    word=FailoverWord(reason="moves"),
)
UP, DOWN, TRIPPED = Look(usable=True), Look(), Look(usable=True, tripped=True)


def after(
    before: Standing | None, looks: Sequence[Look], now: float, *, forced: int | None = None, back: bool = False
) -> Standing:
    return decide(SAID, before, looks, now, forced=forced, back=back)


def walk(*steps: tuple[float, Sequence[Look]]) -> list[int]:
    """At which group each step ends."""
    standing: Standing | None = None
    found = []
    for now, looks in steps:
        standing = after(standing, looks, now)
        found.append(standing.at)
    return found


def test_requests_leave_a_group_at_once_and_return_when_it_was_well_for_long_enough() -> None:
    well, ill = (UP, UP, UP), (DOWN, UP, UP)
    assert walk((0, well), (1, ill), (2, well), (31, well), (32, well)) == [0, 1, 1, 1, 0]


@given(st.integers(0, len(SAID.groups) - 1))
def test_where_requests_go_is_read_from_the_map_that_runs(at: int) -> None:
    entries = dict(failover_entries([SAID], {ORDERS: at}))
    assert recalled([SAID], entries) == ({ORDERS: at} if at else {})
    other = msgspec.structs.replace(SAID, groups=SAID.groups[:at])
    assert recalled([other], entries) == {}, "a group that is gone"
    assert recalled([SAID], {}) == {}


def test_a_node_that_was_started_again_lets_earlier_groups_prove_themselves() -> None:
    standing = taken_over(SAID, 1, 100.0)
    found = []
    for now in (100.0, 129.0, 130.0):
        standing = after(standing, (UP, UP, UP), now)
        found.append(standing.at)
    assert found == [1, 1, 0]
    assert after(taken_over(SAID, 1, 100.0), (DOWN, DOWN, DOWN), 100.0).at == 1, "before anything was seen"


def test_flapping_of_a_group_does_not_flap_requests() -> None:
    steps = [(float(second), (UP if second % 5 else DOWN, UP, UP)) for second in range(120)]
    assert walk((-1.0, (UP, UP, UP)), *steps)[1:] == [1] * 120


def test_an_open_breaker_is_left_and_the_next_group_that_is_well_taken() -> None:
    standing = after(after(None, (UP, UP, UP), 0), (TRIPPED, DOWN, UP), 1)
    assert (standing.at, standing.cause) == (2, "orders: its circuit breaker is open")


def test_a_group_on_which_too_many_requests_fail_is_left_and_few_requests_say_nothing() -> None:
    def look(requests: int, failures: int) -> tuple[Look, Look, Look]:
        return Look(usable=True, requests=requests, failures=failures), UP, UP

    calm = after(after(None, look(1000, 0), 0), look(1019, 19), 1)
    assert calm.at == 0
    left = after(calm, look(1040, 20), 2)
    assert (left.at, left.cause) == (1, "orders: 50% of its requests failed")
    assert after(after(after(None, look(1000, 0), 0), look(1100, 49), 1), look(1200, 90), 2).at == 0
    restarted = after(calm, look(5, 5), 3)
    assert restarted.at == 0, "a new process counts from 0"


def test_a_group_that_never_was_well_is_gone_to_as_soon_as_it_is() -> None:
    assert walk((0, (DOWN, DOWN, UP)), (1, (UP, DOWN, UP))) == [2, 0]


def test_when_nothing_is_well_any_group_with_instances_is_better_than_none_and_none_changes_nothing() -> None:
    assert walk((0, (UP, UP, UP)), (1, (DOWN, DOWN, TRIPPED)), (2, (DOWN, DOWN, DOWN))) == [0, 2, 2]


def test_an_operator_outranks_everything_and_back_means_now() -> None:
    standing = after(after(None, (UP, UP, UP), 0), (UP, UP, DOWN), 1, forced=2)
    assert (standing.at, standing.forced, standing.cause) == (2, True, "by operator: moves")
    ended = after(standing, (UP, UP, UP), 2)
    assert (ended.at, ended.forced) == (0, False), "the first group was well all the time"
    elsewhere = after(after(None, (UP, UP, UP), 0), (DOWN, UP, UP), 1)
    assert after(elsewhere, (UP, UP, UP), 2).at == 1
    assert after(elsewhere, (UP, UP, UP), 2, back=True).at == 0


LOOKS = st.tuples(*[st.sampled_from([UP, DOWN, TRIPPED])] * 3)


@given(st.lists(LOOKS, min_size=1, max_size=80))
def test_a_group_that_is_well_is_only_left_for_an_earlier_one_that_was_well_for_long_enough(
    steps: list[tuple[Look, Look, Look]],
) -> None:
    standing: Standing | None = None
    well_since: dict[int, int] = {}
    ever: set[int] = set()
    for second, looks in enumerate(steps):
        for index, look in enumerate(looks):
            if look is UP:
                well_since.setdefault(index, second if index in ever else -1000)
                ever.add(index)
            else:
                well_since.pop(index, None)
        before = standing.at if standing else 0
        standing = after(standing, looks, float(second))
        if looks[before] is UP and standing.at != before:
            assert standing.at < before
            assert second - well_since[standing.at] >= 30
        if any(look is UP for look in looks):
            assert looks[standing.at] is UP


def test_the_line_begins_with_the_group_where_requests_go_and_marks_all_but_the_first() -> None:
    (line,) = failover_entries([SAID], {ORDERS: 2})
    assert line == (
        "orders",
        "slot:2^lite^lite^failover|slot:1^orders^orders^|orders:z:b^orders^orders@zone:b^failover",
    )
    assert dict(failover_entries([SAID], {})) == {
        "orders": "slot:1^orders^orders^|orders:z:b^orders^orders@zone:b^failover|slot:2^lite^lite^failover"
    }


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("orders", Group(service=ORDERS)),
        ("orders@zone:b", Group(service=ORDERS, zone=Token("b"))),
        ("orders@v2", Group(service=ORDERS, version=Token("v2"))),
    ],
)
def test_a_group_is_read_as_it_is_written(text: str, group: Group) -> None:
    assert parse_group(text) == group
    assert str(group) == text


def grouped(*groups: str) -> Failover:
    return Failover(groups=tuple(map(parse_group, groups)))


def test_only_verdicts_of_the_whole_service_ask_for_groups() -> None:
    facts = snapshot(
        [service("orders", failover=grouped("orders", "lite")), service("lite")],
        routes=[route("r", "orders", path="/r")],
    )
    maps = config(facts).maps
    assert [value.endswith("|f") for _, value in maps["routes"]] == [True]
    verdicts = dict(maps["services"])
    assert verdicts["orders"].endswith("|f")
    assert not verdicts["lite"].endswith("f")


def test_groups_of_services_that_are_not_there_or_speak_bytes_are_passed_over_and_told() -> None:
    facts = snapshot(
        [service("orders", failover=grouped("orders", "gone", "bytes", "lite")), service("lite"),
         service("bytes", protocol=Protocol.TCP)]
    )  # fmt: skip
    found = intent(facts)
    assert [group.name for each in found.config.failovers for group in each.groups] == ["orders", "lite"]
    assert sum("is passed over" in sentence for sentence in found.refused) == 2


def test_the_first_groups_need_a_reload_and_nothing_leads_to_rules_that_are_not_there_before() -> None:
    plain = config(snapshot([service("orders"), service("lite")], [instance("orders", "o", 9001)]))
    facts = snapshot([service("orders", failover=grouped("orders", "lite")), service("lite")], revision=2)
    wanted = config(facts, plain)
    assert isinstance(make_plan(plain, wanted), Reload)
    for hopeless in (False, True):
        meanwhile = interim(plain, wanted, hopeless=hopeless)
        assert not any(value.endswith("f") for _, value in meanwhile.maps["services"])
        assert meanwhile.maps[FAILOVERS] == ()
        assert not meanwhile.fails_over
    changed = config(
        snapshot([service("orders", failover=grouped("lite", "orders")), service("lite")], revision=3), wanted
    )
    assert not isinstance(make_plan(wanted, changed), Reload)


def test_a_standing_changes_one_map_and_nothing_else() -> None:
    facts = snapshot([service("orders", failover=grouped("orders", "lite")), service("lite")])
    before = config(facts)
    from atoll.gateway.intent import intend
    from tests.unit.gateway.facts import SETTINGS

    moved = intend(facts, before, SETTINGS, standings={ORDERS: 1}).config
    assert {name for name, said in moved.maps.items() if said != before.maps[name]} == {FAILOVERS}
    assert msgspec.structs.replace(moved, maps=before.maps, generation=before.generation) == before
