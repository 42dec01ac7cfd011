from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.kit.clock import Instant
from atoll.model.lease import Lease
from atoll.model.names import InstanceId, ServiceName
from atoll.registry.expiry import BURST, GLOBAL, Held, InstanceKey, Rules, Stall, Verdict, credit, decide

TTL = 15.0
RULES = Rules()


def key(service: str, number: int) -> InstanceKey:
    return ServiceName(service), InstanceId(f"{service}-{number}")


def population(ages: dict[str, list[float]], now: float, *, routable: bool = True) -> dict[InstanceKey, Held]:
    """Instances by service, each given as the seconds since its last renewal."""
    return {
        key(service, number): Held(Lease("t", TTL, now - age), routable)
        for service, found in ages.items()
        for number, age in enumerate(found)
    }


def look_twice(ages: dict[str, list[float]], *, now: float = 1000.0, stalls: tuple[Stall, ...] = ()) -> Verdict:
    """Two looks one second apart, nobody renewing in between."""
    held = population(ages, now)
    first = decide(held, Instant(now), stalls, Verdict(), RULES)
    assert first.expire == (), "nobody goes at the look that first finds it lapsed"
    return decide(held, Instant(now + 1), stalls, first, RULES)


@dataclass
class Case:
    says: str
    ages: dict[str, list[float]]
    suspect: set[InstanceKey]
    expire: tuple[InstanceKey, ...]
    last: frozenset[InstanceKey] = frozenset()
    holds: tuple[str, ...] = ()


ORDERS = [key("orders", number) for number in range(6)]
CASES = [
    Case("fresh leases stay", {"orders": [0, 1, 5]}, set(), ()),
    Case("a lease just short of its TTL stays", {"orders": [13.9, 1]}, set(), ()),
    Case("one of three goes", {"orders": [15, 1, 2]}, {ORDERS[0]}, (ORDERS[0],)),
    Case("one of two goes", {"orders": [15, 1]}, {ORDERS[0]}, (ORDERS[0],)),
    Case("the last one stays and is failing", {"orders": [99]}, {ORDERS[0]}, (), frozenset({ORDERS[0]})),
    Case(
        "of two that lapsed, the one that renewed last stays",
        {"orders": [20, 16]},
        {ORDERS[0], ORDERS[1]},
        (ORDERS[0],),
        frozenset({ORDERS[1]}),
    ),
    Case(
        "two of three lapsing together are held",
        {"orders": [16, 16, 1]},
        {ORDERS[0], ORDERS[1]},
        (),
        holds=("orders",),
    ),
    Case(
        "renewals are spread over TTL/3: whoever is overdue counts",
        {"orders": [15, 12, 10]},
        {ORDERS[0]},
        (),
        holds=("orders",),
    ),
    Case("half is not more than half", {"orders": [16, 16, 1, 1]}, {ORDERS[0], ORDERS[1]}, (ORDERS[0], ORDERS[1])),
    Case(
        "a hold of one service does not touch another",
        {"orders": [16, 16, 16], "web": [16, 1]},
        set(ORDERS[:3]) | {key("web", 0)},
        (key("web", 0),),
        holds=("orders",),
    ),
    Case("at 85 % and above expiry goes on", {"a": [16, 1], "b": [1] * 12}, {key("a", 0)}, (key("a", 0),)),
    Case(
        "below 85 % of expected renewals nothing expires anywhere",
        {"a": [16, 1], "b": [16, 1], "c": [1] * 7},
        {key("a", 0), key("b", 0)},
        (),
        holds=("",),
    ),
    Case("few instances say nothing about 85 %", {"a": [16, 1], "b": [1, 1]}, {key("a", 0)}, (key("a", 0),)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_who_may_go(case: Case) -> None:
    verdict = look_twice(case.ages)
    assert verdict.lapsed == case.suspect
    assert verdict.expire == case.expire
    assert verdict.last == case.last
    assert tuple(sorted(verdict.holds)) == case.holds


def test_a_pause_of_three_ttls_expires_nobody() -> None:
    stall = Stall(Instant(1000.0), Instant(1045.0))
    held = population({"orders": [5, 5, 5], "web": [1]}, 1000.0)
    first = decide(held, Instant(1045.0), [stall], Verdict(), RULES)
    second = decide(held, Instant(1046.0), [stall], first, RULES)
    assert not first.lapsed
    assert not second.lapsed
    assert not second.expire


def test_a_stall_is_credited_only_for_the_part_after_the_renewal() -> None:
    stalls = [Stall(Instant(10), Instant(20)), Stall(Instant(30), Instant(31))]
    assert credit(stalls, since=5) == 11
    assert credit(stalls, since=15) == 6
    assert credit(stalls, since=25) == 1
    assert credit(stalls, since=40) == 0


def test_a_hold_ends_after_its_limit_and_does_not_begin_again_for_the_same_cause() -> None:
    held = population({"orders": [16, 17, 18]}, 1000.0)
    verdict = decide(held, Instant(1000.0), (), Verdict(), RULES)
    assert verdict.holding(ServiceName("orders"))
    verdict = decide(held, Instant(1599.0), (), verdict, RULES)
    assert verdict.holding(ServiceName("orders"))
    assert not verdict.expire
    verdict = decide(held, Instant(1601.0), (), verdict, RULES)
    assert not verdict.holding(ServiceName("orders"))
    assert set(verdict.expire) == {key("orders", 1), key("orders", 2)}, "all but the last"
    again = decide(held, Instant(1700.0), (), verdict, RULES)
    assert not again.holding(ServiceName("orders"))


def test_a_hold_ends_when_the_leases_are_renewed() -> None:
    held = population({"orders": [16, 16, 16]}, 1000.0)
    verdict = decide(held, Instant(1000.0), (), Verdict(), RULES)
    healed = population({"orders": [0, 0, 16]}, 1001.0)
    verdict = decide(healed, Instant(1001.0), (), verdict, RULES)
    assert verdict.holds == {}


def test_who_is_kept_for_being_the_last_is_not_expected_to_renew_any_more() -> None:
    ages: dict[str, list[float]] = {f"dead{number}": [100.0] for number in range(3)} | {"web": [1.0] * 12}
    held = population(ages, 1000.0)
    long_dead = Verdict(
        lapsed=frozenset(key(f"dead{number}", 0) for number in range(3)),
        last=frozenset(key(f"dead{number}", 0) for number in range(3)),
    )
    assert GLOBAL not in decide(held, Instant(1000.0), (), long_dead, RULES).holds
    assert GLOBAL in decide(held, Instant(1000.0), (), Verdict(), RULES).holds


def test_a_lapsed_instance_goes_although_a_maintained_one_is_left_only_if_a_routable_one_is() -> None:
    now = 1000.0
    lapsed = {key("orders", 0): Held(Lease("t", TTL, now - 20))}
    maintained = {key("orders", 1): Held(Lease("t", TTL, now), routable=False)}
    before = Verdict(lapsed=frozenset({key("orders", 0)}))
    verdict = decide(lapsed | maintained, Instant(now), (), before, RULES)
    assert verdict.last == {key("orders", 0)}
    assert verdict.expire == ()


def test_at_most_a_burst_goes_at_one_look_the_longest_lapsed_first() -> None:
    ages = {f"s{number:03}": [16.0 + number / 1000, 1.0] for number in range(BURST * 2)}
    rules = Rules(global_share=0.0)
    held = population(ages, 1000.0)
    first = decide(held, Instant(1000.0), (), Verdict(), rules)
    second = decide(held, Instant(1001.0), (), first, rules)
    assert len(second.expire) == BURST
    assert second.expire[0] == key(f"s{BURST * 2 - 1:03}", 0)


ages_of = st.dictionaries(
    st.sampled_from(["orders", "web", "pay", "mail"]), st.lists(st.floats(0, 60), min_size=1, max_size=6), min_size=1
)
stall_lists = st.lists(st.tuples(st.floats(900, 1000), st.floats(0, 50)), max_size=3).map(
    lambda found: [Stall(Instant(start), Instant(min(1000.0, start + length))) for start, length in found]
)


@given(ages_of, stall_lists)
def test_time_alone_never_empties_a_service_and_never_breaks_the_lease_floor(
    ages: dict[str, list[float]], stalls: list[Stall]
) -> None:
    now = Instant(1000.0)
    held = population(ages, now)
    everyone = Verdict(lapsed=frozenset(held))
    verdict = decide(held, now, stalls, everyone, RULES)
    for service in ages:
        assert any(found[0] == service and found not in verdict.expire for found in held)
    for found in verdict.expire:
        lease = held[found].lease
        assert now - lease.renewed - credit(stalls, lease.renewed) >= lease.ttl
        assert not verdict.holding(found[0])
        assert found in verdict.lapsed


@given(ages_of, st.lists(st.floats(0.1, 5), min_size=1, max_size=40))
def test_however_often_it_looks_each_service_keeps_someone(ages: dict[str, list[float]], steps: list[float]) -> None:
    held = population(ages, 1000.0)
    now, verdict = 1000.0, Verdict()
    for step in steps:
        now += step
        verdict = decide(held, Instant(now), (), verdict, RULES)
        for gone in verdict.expire:
            del held[gone]
    assert {service for service, _ in held} == set(ages)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=8), st.floats(0, 2000))
def test_a_control_plane_that_was_paused_expires_nobody_who_renewed_before(renewed: list[float], pause: float) -> None:
    start = 1000.0
    held = population({"orders": renewed}, start)
    stalls = [Stall(Instant(start), Instant(start + pause))]
    first = decide(held, Instant(start + pause), stalls, Verdict(), RULES)
    assert not first.lapsed
    assert not decide(held, Instant(start + pause + 1), stalls, first, RULES).expire
