from __future__ import annotations

import pytest

from atoll.model.failover import Failover, FailoverWord, parse_group
from atoll.model.names import NodeName, ServiceName
from atoll.model.report import FailoverReport, NodeReport
from atoll.model.service import Service
from atoll.testing import FakeClock
from tests.unit.cli.fake_api import Cli, FakeApi

GROUPS = Failover(groups=(parse_group("orders"), parse_group("orders@zone:b"), parse_group("lite")))


@pytest.fixture
def shop(cli: Cli, api: FakeApi) -> FakeApi:
    cli.clock = FakeClock()
    wall = cli.clock.wall()
    word = FailoverWord(to=parse_group("lite"), until=wall + 300, since=wall - 9, reason="x")
    api.put(
        Service(name=ServiceName("lite")),
        Service(name=ServiceName("orders"), failover=GROUPS),
        Service(name=ServiceName("users"), failover=GROUPS, failover_word=word),
    )
    told = (
        FailoverReport(
            service=ServiceName("orders"), group="orders@zone:b", at=1, since=wall - 20, cause="orders: \x1b[31mill",
            troubles=("none", "", ""),
        ),
        FailoverReport(service=ServiceName("users"), group="lite", at=2, since=wall - 9, forced=True, cause="by operator: x"),
    )  # fmt: skip
    api.report(NodeReport(node=NodeName("local"), failovers=told))
    return api


def test_services_with_groups_are_shown_with_who_serves_since_when_and_why(cli: Cli, shop: FakeApi) -> None:
    rows = [" ".join(line.split()) for line in cli("failover").out.splitlines()[1:]]
    assert rows == [
        "orders orders (ill), orders@zone:b, lite orders@zone:b degraded 20s ago orders: \\x1b[31mill",
        "users orders, orders@zone:b, lite lite forced 9s ago in 5m by operator: x",
    ]
    (row,) = cli("failover", "orders", "--json").json
    assert (row["groups"], row["group"], row["state"]) == (
        ["orders", "orders@zone:b", "lite"],
        "orders@zone:b",
        "degraded",
    )


def test_a_word_is_sent_and_taken_back(cli: Cli, shop: FakeApi) -> None:
    shop.answers["POST", "/api/v1/services/orders/failover"] = (200, {"revision": 8})
    done = cli("failover", "orders", "--to", "lite", "--for", "5m", "--reason", "why", "--json")
    assert (done.code, done.json) == (0, {"revision": 8})
    assert cli("failover", "orders", "--back", "--reason", "done").err == "orders: goes back to its first group\n"
    assert [request.body for request in shop.sent("POST")] == [
        {"to": "lite", "seconds": 300.0, "reason": "why"},
        {"to": None, "seconds": 600.0, "reason": "done"},
    ]


def test_half_a_word_is_refused(cli: Cli, shop: FakeApi) -> None:
    for line in (
        ("orders", "--to", "lite"),
        ("--back", "--reason", "x"),
        ("orders", "--to", "a", "--back", "--reason", "x"),
    ):
        assert cli("failover", *line).code == 2
    assert cli("failover", "oders").code == 1
    assert not shop.sent("POST")
