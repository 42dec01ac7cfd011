from __future__ import annotations

import msgspec
import pytest

from atoll.model.breaker import Breaker, BreakerState, BreakerWord
from atoll.model.names import NodeName, RouteName, ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.report import BreakerChange, BreakerReport, NodeReport
from atoll.model.route import Route, Share
from atoll.model.service import Protocol, Service
from atoll.testing import FakeClock
from tests.unit.cli.fake_api import Cli, FakeApi

ON = Breaker(enabled=True)


@pytest.fixture
def failing(cli: Cli, api: FakeApi) -> FakeApi:
    """One open, one forced, one off, one that nothing was counted of; and bytes."""
    cli.clock = FakeClock()
    wall = cli.clock.wall()
    word = BreakerWord(state=BreakerState.OPEN, until=wall + 90, since=wall - 5, reason="moves\x1b[31m")
    still = BreakerWord(state=BreakerState.CLOSED, until=wall + 30, since=wall - 1, reason="still")
    own = Policy(circuit_breaker=Breaker(enabled=True, errors=20))
    api.put(
        Service(
            name=ServiceName("calm"),
            policy=Policy(circuit_breaker=ON),
            calls={ServiceName("moody"): Call(breaker_word=still)},
        ),
        Route(name=RouteName("shop"), shares=(Share(service=ServiceName("moody")),), policy=own),
        Route(name=RouteName("plain"), shares=(Share(service=ServiceName("moody")),)),
        Service(name=ServiceName("db"), protocol=Protocol.TCP),
        Service(name=ServiceName("held"), policy=Policy(circuit_breaker=ON), breaker_word=word),
        Service(name=ServiceName("moody"), policy=Policy(circuit_breaker=ON)),
        Service(name=ServiceName("none"), policy=Policy(circuit_breaker=Breaker(enabled=False))),
    )
    told = BreakerReport(
        service=ServiceName("moody"), state=BreakerState.OPEN, since=wall - 3, until=wall + 12,
        requests=30, failures=21, opened=2, rejected=7,
    )  # fmt: skip
    api.report(NodeReport(node=NodeName("local"), breakers=(told,)))
    return api


def test_breakers_are_shown_with_what_they_count_and_when_they_end(cli: Cli, failing: FakeApi) -> None:
    head, *lines = cli("breakers").out.splitlines()
    assert head.split()[:5] == ["SERVICE", "CALLER", "STATE", "SINCE", "UNTIL"]
    assert [" ".join(line.split()) for line in lines] == [
        "calm * closed 50% of 20 in 10s",
        "held * open (forced) 5s ago in 1m 50% of 20 in 10s moves\\x1b[31m",
        "moody * open 3s ago in 12s 21 of 30 50% of 20 in 10s 2 7",
        "moody route:shop closed 20% of 20 in 10s",
        "moody calm closed (forced) 1s ago in 30s 50% of 20 in 10s still",
        "none * off",
    ]


def test_the_matrix_has_callers_down_and_callees_across(cli: Cli, failing: FakeApi) -> None:
    head, *lines = cli("breakers", "--matrix").out.splitlines()
    assert head.split() == ["CALLER", "calm", "held", "moody", "none"]
    assert [" ".join(line.split()) for line in lines] == [
        "route:plain open",
        "route:shop closed",
        "calm closed (forced)",
        "* closed open (forced) open off",
    ]


def test_breakers_as_json_have_their_sources(cli: Cli, failing: FakeApi) -> None:
    found = cli("breakers", "--json").json
    rows = {row["service"]: row for row in found if row["caller"] == ""}
    assert {row["caller"]: row["own"] for row in found if row["service"] == "moody"} == {
        "": True, "route:plain": False, "route:shop": True, "calm": False,
    }  # fmt: skip
    assert (rows["moody"]["state"], rows["moody"]["forced"], rows["moody"]["seen"]["failures"]) == ("open", False, 21)
    assert (rows["held"]["state"], rows["held"]["forced"]) == ("open", True)
    assert rows["calm"]["policy"]["min_requests"] == 20


def test_a_word_is_sent_with_its_reason_and_its_end(cli: Cli, failing: FakeApi) -> None:
    failing.answers["POST", "/api/v1/services/calm/breaker"] = (200, {"revision": 8})
    assert cli("breakers", "open", "calm", "--for", "2m", "--reason", "why").code == 0
    assert cli("breakers", "close", "calm", "--reason", "why").code == 0
    assert cli("breakers", "reset", "calm", "--reason", "done", "--json").json == {"revision": 8}
    assert [request.body for request in failing.sent("POST")] == [
        {"reason": "why", "state": "open", "seconds": 120.0, "caller": None},
        {"reason": "why", "state": "closed", "seconds": 300.0, "caller": None},
        {"reason": "done", "state": None, "seconds": 300.0, "caller": None},
    ]


def test_a_word_may_be_about_one_caller_or_one_route(cli: Cli, failing: FakeApi) -> None:
    failing.answers["POST", "/api/v1/services/moody/breaker"] = (200, {"revision": 8})
    failing.answers["POST", "/api/v1/routes/shop/breaker"] = (200, {"revision": 9})
    assert "calm → moody: open for 300 s" in cli("breakers", "open", "moody", "--caller", "calm", "--reason", "w").err
    assert "route shop: reset" in cli("breakers", "reset", "--route", "shop", "--reason", "w").err
    assert [request.body["caller"] for request in failing.sent("POST")] == ["calm", None]


def test_the_history_of_breakers_says_what_happened_and_why(cli: Cli, failing: FakeApi) -> None:
    opened = BreakerChange(
        at=1_800_000_000.0, service=ServiceName("moody"), caller="route:shop", state=BreakerState.OPEN,
        reason="12 of 20 requests failed", opened=1, rejected=3,
    )  # fmt: skip
    records = [
        {"at": opened.at, "verb": "breaker", "service": "moody", "breaker": msgspec.to_builtins(opened)},
        {"at": 1.0, "verb": "passing", "service": "moody", "instance": "moody-1"},
    ]
    for name in ("calm", "held", "moody", "none"):
        told = records if name == "moody" else []
        failing.answers["GET", f"/api/v1/services/{name}/history"] = (200, {"service": name, "records": told})
    for words in (("breakers", "--history"), ("breakers", "history", "moody")):
        (line,) = cli(*words).out.splitlines()[1:]
        assert line.split()[2:] == ["moody", "route:shop", "open", "3", "12", "of", "20", "requests", "failed"]
    assert cli("breakers", "history", "moody", "--json").json[0]["reason"] == "12 of 20 requests failed"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("open", "calm"), 2), (("open", "calm", "--reason", "x", "--for", "never"), 2),
        (("open", "clam", "--reason", "x"), 1), (("reset", "calm"), 2),
        (("open", "--reason", "x"), 2), (("open", "calm", "--route", "shop", "--reason", "x"), 2),
        (("open", "--route", "shop", "--caller", "calm", "--reason", "x"), 2),
        (("open", "--route", "shp", "--reason", "x"), 1), (("open", "calm", "--caller", "clam", "--reason", "x"), 1),
    ],
)  # fmt: skip
def test_a_word_that_is_not_whole_is_not_sent(cli: Cli, failing: FakeApi, words: tuple[str, ...], code: int) -> None:
    assert cli("breakers", *words).code == code
    assert failing.sent("POST") == []
