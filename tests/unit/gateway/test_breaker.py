from __future__ import annotations

import pytest

from atoll.gateway.breaker import FORCED, LINGER, breaker_entries, breaker_reports
from atoll.gateway.config import BREAKERS, ROUTES
from atoll.gateway.plan import Plan, SwapMap, make_plan
from atoll.gateway.readback import parse_breakers
from atoll.model.breaker import Breaker, BreakerState, BreakerWord
from atoll.model.policy import Policy
from atoll.model.report import BreakerReport
from atoll.model.service import Protocol
from tests.unit.gateway.facts import config, instance, intent, service, snapshot

OWN = Breaker(enabled=True, errors=25, window=2.5, min_requests=7, open=60, probes=1)
ON = Breaker(enabled=True)
OPEN = BreakerWord(state=BreakerState.OPEN, until=1000.2, reason="why", reset=5.9)
TABLE = """\
# table: edge:breakers, type: string, size:10000, used:2
0x55: key=orders use=0 exp=7199000 shard=0 gpt0=1000 gpt1=980 gpt2=985 gpt3=900 gpc0=20 gpc1=12 gpc2=0 gpc3=0 gpc4=3
0x66: key=web use=1 exp=7199000 shard=0 gpt0=0 gpt1=980 gpt2=0 gpt3=0 gpc0=4 gpc1=1 gpc2=0 gpc3=0 gpc4=0
"""


def test_a_service_is_a_line_of_numbers_in_whole_seconds() -> None:
    assert dict(
        breaker_entries(
            [service("orders", policy=Policy(circuit_breaker=ON)), service("web", policy=Policy(circuit_breaker=OWN))]
        )
    ) == {
        "orders": "50|20|10|15|3||0|0",
        "web": "25|7|3|60|1||0|0",
    }


def test_a_service_without_a_breaker_is_not_there_unless_a_word_is_said() -> None:
    off = Breaker(enabled=False)
    assert list(breaker_entries([service("orders", policy=Policy(circuit_breaker=off))])) == []
    assert dict(breaker_entries([service("orders", policy=Policy(circuit_breaker=off), breaker_word=OPEN)])) == {
        "orders": "50|1000000000|10|15|3|open|1001|5",
        FORCED: "1",
    }


def test_a_reset_alone_forces_nothing() -> None:
    assert dict(
        breaker_entries([service("orders", policy=Policy(circuit_breaker=ON), breaker_word=BreakerWord(reset=9.0))])
    ) == {"orders": "50|20|10|15|3||0|9"}


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


@pytest.mark.parametrize(
    ("wall", "state", "since", "until"),
    [
        (999.0, BreakerState.OPEN, 985.0, 1000.0),
        (1000.0, BreakerState.HALF_OPEN, 985.0, 0.0),
        (1000.0 + LINGER, BreakerState.CLOSED, 900.0, 0.0),
    ],
)
def test_what_the_table_says_of_a_breaker(wall: float, state: BreakerState, since: float, until: float) -> None:
    lines = dict(breaker_entries([service("orders", policy=Policy(circuit_breaker=ON))]))
    (report,) = breaker_reports(parse_breakers(TABLE), lines, wall)  # nobody has `web` any more
    assert report == BreakerReport(
        service=service("orders").name, state=state, since=since, until=until, requests=20, failures=12, opened=3
    )


def test_a_word_is_told_while_it_holds_and_although_nothing_was_counted() -> None:
    lines = dict(breaker_entries([service("calm", breaker_word=OPEN)]))
    (told,) = breaker_reports((), lines, 1000.0)
    assert (told.state, told.forced, told.until) == (BreakerState.OPEN, True, 1001.0)
    assert list(breaker_reports((), lines, 1001.0)) == []


def test_an_answer_that_is_no_table_is_no_breaker() -> None:
    assert list(parse_breakers("No such table\n")) == []
