from __future__ import annotations

from typing import Any

import pytest

from atoll.gateway.bound import Does
from atoll.gateway.breaker import LINGER
from atoll.gateway.breaker_lines import FORCED
from atoll.gateway.breaker_reports import breaker_reports, changes
from atoll.gateway.config import BREAKERS, POLICIES, ROUTES, Entries
from atoll.gateway.counts import parse_breakers
from atoll.gateway.plan import Plan, SwapMap, make_plan
from atoll.model.breaker import Breaker, BreakerState, BreakerWord, SlowCalls
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.report import BreakerReport
from atoll.model.route import Match, Route, Share
from atoll.model.service import Protocol, Service
from tests.unit.gateway.facts import config, instance, intent, service, snapshot

OWN = Breaker(enabled=True, errors=25, window=2.5, min_requests=7, open=60, probes=1)
ON = Breaker(enabled=True)
OPEN = BreakerWord(state=BreakerState.OPEN, until=1000.2, reason="why", reset=5.9)
LINE = "50|20|10|3|3|0|1000000000|100|"
TABLE = """\
# table: edge:breakers, type: string, size:10000, used:2
0x55: key=orders use=0 exp=7199000 shard=0 gpt0=1000 gpt1=980 gpt2=985 gpt3=900 gpt4=1060 gpc0=20 gpc1=12 gpc2=0 gpc3=0 gpc4=3 gpc5=7 gpc6=2
0x66: key=web use=1 exp=7199000 shard=0 gpt0=0 gpt1=980 gpt2=0 gpt3=0 gpt4=0 gpc0=4 gpc1=1 gpc2=0 gpc3=0 gpc4=0 gpc5=0 gpc6=0
"""


def guarded(name: str, said: Breaker | None = ON, **values: Any) -> Service:
    return service(name, policy=Policy(circuit_breaker=said), **values)


def route(name: str, *services: str, **values: Any) -> Route:
    shares = tuple(Share(service=ServiceName(each)) for each in services)
    return Route(name=RouteName(name), match=Match(path=PathText(f"/{name}")), shares=shares, **values)


def lines(services: list[Service], routes: list[Route] | None = None) -> dict[str, str]:
    return dict(config(snapshot(services, [], routes or [])).maps[BREAKERS])


def told(policies: Entries) -> dict[str, tuple[str, str]]:
    """Of each line the breaker's scope, and `s` when its answers are watched."""
    asked = {key: Does(int(line.partition("|")[0])) for key, line in policies}
    for key, line in policies:
        assert (Does.SCOPED in asked[key]) == bool(line.rpartition("|")[2])
    return {key: (line.rpartition("|")[2], "s" if Does.WATCHED in asked[key] else "") for key, line in policies}


def test_a_service_is_a_line_of_numbers_in_whole_seconds() -> None:
    assert lines([guarded("orders"), guarded("web", OWN)]) == {
        "orders": f"{LINE}|orders|",
        "web": "25|7|3|60|1|0|1000000000|100||web|",
    }


def test_a_service_without_a_breaker_is_not_there_but_for_a_word() -> None:
    off = Breaker(enabled=False)
    assert lines([guarded("orders", off), service("web")]) == {}
    assert lines([guarded("orders", off, breaker_word=OPEN)]) == {"orders=": "open|1001|orders", FORCED: "1"}


def test_a_reset_alone_forces_nothing() -> None:
    assert lines([guarded("orders", breaker_word=BreakerWord(reset=9.0))]) == {
        "orders": "50|20|10|3|3|9|1000000000|100||orders|"
    }


def test_routes_and_calls_that_say_one_have_their_own() -> None:
    web = service("web", calls={ServiceName("orders"): Call(policy=Policy(circuit_breaker=OWN), mesh_index=1)})
    own = Policy(circuit_breaker=OWN)
    routes = [route("shop", "orders", policy=own), route("both", "orders", "web", policy=own), route("plain", "orders")]
    found = lines([guarded("orders"), web], routes)
    assert sorted(found) == ["orders", "route:both>orders", "route:both>web", "route:shop", "web>orders"]
    assert found["web>orders"] == "25|7|3|60|1|0|1000000000|100||orders|"


def test_rules_are_told_of_a_scope_only_where_it_is_not_the_services() -> None:
    own = Policy(circuit_breaker=OWN)
    maps = config(
        snapshot([guarded("orders")], [], [route("shop", "orders", policy=own), route("plain", "orders")])
    ).maps
    assert told(maps[POLICIES]) == {"route:shop": ("route:shop", "")}
    assert not dict(maps[ROUTES])["ANY/plain/"].endswith("p")


def test_what_must_be_watched_is_flagged_with_the_statuses_that_fail() -> None:
    slow = Breaker(enabled=True, slow_calls=SlowCalls(longer_than=0.25, share=30))
    named = Breaker(enabled=True, failures=("429", "timeout"))
    maps = config(snapshot([guarded("orders", slow), guarded("web", named)])).maps
    found = dict(maps[BREAKERS])
    assert found["orders"] == "50|20|10|3|3|0|250|30|5xx|orders|s"
    assert found["web"] == "50|20|10|3|3|0|1000000000|100|429+timeout|web|s"
    assert [key for key in found if key.startswith("429")] == ["429+timeout~429", "429+timeout~504"]
    assert sum(key.startswith("5xx~") for key in found) == 100
    assert told(maps[POLICIES]) == {"orders": ("orders", "s"), "web": ("web", "s")}


def test_words_have_keys_of_their_own() -> None:
    web = service("web", calls={ServiceName("orders"): Call(mesh_index=1, breaker_word=OPEN)})
    assert lines([guarded("orders", None), web], [route("shop", "web", "orders", breaker_word=OPEN)]) == {
        "web>orders~": "open|1001|orders",
        "shop~": "open|1001|orders,web",
        FORCED: "1",
    }


def test_other_numbers_and_words_are_one_map_and_no_reload() -> None:
    running = config(snapshot([service("orders")], [instance("orders", "a", 9001)]))
    facts = snapshot(
        [service("orders", policy=Policy(circuit_breaker=OWN), breaker_word=OPEN)], [instance("orders", "a", 9001)]
    )
    plan = make_plan(running, config(facts, running))
    assert isinstance(plan, Plan)
    assert [each.name for each in plan.operations if isinstance(each, SwapMap)] == [BREAKERS]
    assert len(plan.operations) == 1


def test_tcp_has_no_line() -> None:
    maps = config(
        snapshot(
            [
                service("db", protocol=Protocol.TCP, policy=Policy(circuit_breaker=ON)),
                service("web", policy=Policy(circuit_breaker=ON)),
            ]
        )
    ).maps
    assert [key for key, _ in maps[BREAKERS]] == ["web"]
    assert ROUTES in maps


@pytest.mark.parametrize(
    "values",
    [
        {"policy": Policy(circuit_breaker=Breaker(probes=0))},
        {"policy": Policy(circuit_breaker=Breaker(window=float("nan")))},
        {"breaker_word": BreakerWord(until=float("inf"))},
        {"breaker_word": BreakerWord(state=BreakerState.HALF_OPEN)},
    ],
    ids=str,
)
def test_a_fact_that_no_file_could_say_leaves_only_its_service_out(values: dict[str, object]) -> None:
    found = intent(snapshot([service("orders", **values), service("web")]))
    assert [backend.service for backend in found.config.backends] == ["web"]
    assert len(found.refused) == 1


SAID = {"orders": f"{LINE}|orders|", "web": f"{LINE}|web|"}
RULE = "50% failed of 20 in 10s"


def seen(text: str, wall: float, said: dict[str, str] | None = None) -> dict[tuple[str, str], BreakerReport]:
    found = breaker_reports(parse_breakers(text), SAID if said is None else said, wall)
    return {(each.service, each.caller): each for each in found}


@pytest.mark.parametrize(
    ("wall", "state", "since", "until"),
    [
        (999.0, BreakerState.OPEN, 985.0, 1000.0),
        (1000.0, BreakerState.HALF_OPEN, 985.0, 0.0),
        (1000.0 + LINGER, BreakerState.CLOSED, 900.0, 0.0),
    ],
)
def test_what_the_table_says_of_a_breaker(wall: float, state: BreakerState, since: float, until: float) -> None:
    assert seen(TABLE, wall, {"orders": SAID["orders"]}) == {  # nobody has `web` any more
        ("orders", ""): BreakerReport(
            service=ServiceName("orders"), state=state, since=since, until=until, due=1000.0, opened_at=985.0,
            requests=20, failures=12, slow=2, opened=3, rejected=7, rule=RULE,
        )
    }  # fmt: skip


def test_scopes_are_told_by_callee_and_caller_and_the_nearest_word_counts() -> None:
    own = f"{LINE}|orders|"
    said = {
        "orders": own, "web>orders": own, "route:shop>orders": own,
        "orders=": "open|1001|orders", "shop~": "closed|1001|orders,web", "old~": "open|999|web", FORCED: "1",
    }  # fmt: skip
    found = seen("", 1000.0, said)
    assert {who: (each.state, each.forced) for who, each in found.items()} == {
        ("orders", ""): (BreakerState.OPEN, True),
        ("orders", "web"): (BreakerState.OPEN, True),
        ("orders", "route:shop"): (BreakerState.CLOSED, True),
        ("web", "route:shop"): (BreakerState.CLOSED, True),
    }


def test_a_word_is_told_while_it_holds_and_although_nothing_was_counted() -> None:
    said = lines([guarded("calm", None, breaker_word=OPEN)])
    told = seen("", 1000.0, said)["calm", ""]
    assert (told.state, told.forced, told.until) == (BreakerState.OPEN, True, 1001.0)
    assert seen("", 1001.0, said) == {}


def table(until: int, opened: int, *, opened_at: int = 985, closed_at: int = 900) -> str:
    return (
        f"0x55: key=orders use=0 exp=1 gpt0={until} gpt1=980 gpt2={opened_at} gpt3={closed_at} gpt4=0"
        f" gpc0=20 gpc1=12 gpc2=0 gpc3=0 gpc4={opened} gpc5=0 gpc6=0\n"
    )


FORGOTTEN = "too many requests failed; it opens at " + RULE
"""What was counted when it opened is not there any more once it has closed."""
OPENED = "12 of 20 requests failed; it opens at " + RULE


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((table(0, 0), 984), (table(1000, 1), 986), [("open", 985, OPENED)]),
        ((table(1000, 1), 986), (table(1000, 1), 1001), [("half-open", 1000, "it is tried again")]),
        ((table(1000, 1), 986), (table(1000, 1), 990), []),
        ((table(1000, 1), 1001), (table(1016, 2, opened_at=1001), 1002), [("open", 1001, "a probe failed")]),
        (
            (table(1000, 1), 999), (table(1016, 2, opened_at=1001), 1002),
            [("half-open", 1000, "it is tried again"), ("open", 1001, "a probe failed")],
        ),
        (
            (table(1000, 1), 999), (table(0, 1, closed_at=1001), 1002),
            [("half-open", 1000, "it is tried again"), ("closed", 1001, "all probes succeeded")],
        ),
        ((table(1000, 1), 1001), (table(0, 1, closed_at=1001), 1002), [("closed", 1001, "all probes succeeded")]),
        (
            (table(0, 0), 984), (table(0, 1, closed_at=1001), 1002),
            [("open", 985, FORGOTTEN), ("closed", 1001, "all probes succeeded")],
        ),
        (
            (table(1000, 1), 1001), (table(1000, 1), 1000 + LINGER),
            [("closed", 1000 + LINGER, "nobody asked for 60 s since it might be tried again")],
        ),
        ((table(0, 5), 984), (table(1000, 1), 986), [("open", 985, OPENED)]),
    ],
    ids=["opens", "is due", "stays", "opens again", "unseen", "heals unseen", "heals", "opens and heals", "is left", "opens in a new process"],
)  # fmt: skip
def test_what_changed_between_two_looks(
    before: tuple[str, float], after: tuple[str, float], told: list[tuple[str, float, str]]
) -> None:
    known = {(ServiceName(service), caller): each for (service, caller), each in seen(*before).items()}
    found = list(changes(known, seen(*after).values(), after[1]))
    assert [(each.state, each.at, each.reason) for each in found] == told


def test_an_answer_that_is_no_table_is_no_breaker() -> None:
    assert list(parse_breakers("No such table\n")) == []
