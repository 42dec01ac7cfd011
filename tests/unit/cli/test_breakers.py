from __future__ import annotations

import pytest

from atoll.model.breaker import Breaker, BreakerState, BreakerWord
from atoll.model.names import NodeName, ServiceName
from atoll.model.policy import Policy
from atoll.model.report import BreakerReport, NodeReport
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
    api.put(
        Service(name=ServiceName("calm"), policy=Policy(circuit_breaker=ON)),
        Service(name=ServiceName("db"), protocol=Protocol.TCP),
        Service(name=ServiceName("held"), policy=Policy(circuit_breaker=ON), breaker_word=word),
        Service(name=ServiceName("moody"), policy=Policy(circuit_breaker=ON)),
        Service(name=ServiceName("none"), policy=Policy(circuit_breaker=Breaker(enabled=False))),
    )
    told = BreakerReport(
        service=ServiceName("moody"), state=BreakerState.OPEN, since=wall - 3, until=wall + 12,
        requests=30, failures=21, opened=2,
    )  # fmt: skip
    api.report(NodeReport(node=NodeName("local"), breakers=(told,)))
    return api


def test_breakers_are_shown_with_what_they_count_and_when_they_end(cli: Cli, failing: FakeApi) -> None:
    head, *lines = cli("breakers").out.splitlines()
    assert head.split()[:4] == ["SERVICE", "STATE", "SINCE", "UNTIL"]
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert rows == {
        "calm": "closed 50% of 20 in 10s",
        "held": "open (forced) 5s ago in 1m 50% of 20 in 10s moves\\x1b[31m",
        "moody": "open 3s ago in 12s 21 of 30 50% of 20 in 10s 2",
        "none": "off",
    }


def test_breakers_as_json_have_their_sources(cli: Cli, failing: FakeApi) -> None:
    rows = {row["service"]: row for row in cli("breakers", "--json").json}
    assert (rows["moody"]["state"], rows["moody"]["forced"], rows["moody"]["seen"]["failures"]) == ("open", False, 21)
    assert (rows["held"]["state"], rows["held"]["forced"]) == ("open", True)
    assert rows["calm"]["policy"]["min_requests"] == 20


def test_a_word_is_sent_with_its_reason_and_its_end(cli: Cli, failing: FakeApi) -> None:
    failing.answers["POST", "/api/v1/services/calm/breaker"] = (200, {"revision": 8})
    assert cli("breakers", "open", "calm", "--for", "2m", "--reason", "why").code == 0
    assert cli("breakers", "close", "calm", "--reason", "why").code == 0
    assert cli("breakers", "reset", "calm", "--reason", "done", "--json").json == {"revision": 8}
    assert [request.body for request in failing.sent("POST")] == [
        {"reason": "why", "state": "open", "seconds": 120.0},
        {"reason": "why", "state": "closed", "seconds": 300.0},
        {"reason": "done", "state": None, "seconds": 300.0},
    ]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("open", "calm"), 2), (("open", "calm", "--reason", "x", "--for", "never"), 2),
        (("open", "clam", "--reason", "x"), 1), (("reset", "calm"), 2),
    ],
)  # fmt: skip
def test_a_word_that_is_not_whole_is_not_sent(cli: Cli, failing: FakeApi, words: tuple[str, ...], code: int) -> None:
    assert cli("breakers", *words).code == code
    assert failing.sent("POST") == []
