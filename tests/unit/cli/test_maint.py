from __future__ import annotations

import pytest

from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.service import Instance
from atoll.testing import FakeClock
from tests.unit.cli.fake_api import Cli, FakeApi

PATH = "/api/v1/maintenance"


@pytest.fixture
def words(cli: Cli, shop: FakeApi) -> FakeApi:
    cli.clock = FakeClock()
    wall = cli.clock.wall()
    shop.answers["GET", PATH] = (
        200,
        {
            "revision": 9,
            "words": [
                {"target": "orders", "reason": "moves\x1b[31m", "since": wall - 5, "until": 0.0, "instances": []},
                {"target": "zone:b", "reason": "power", "since": wall - 90, "until": wall + 600, "instances": ["a/b"]},
            ],
        },
    )
    shop.answers["POST", PATH] = (200, {"revision": 10})
    shop.answers["POST", f"{PATH}/end"] = (200, {"revision": 11})
    return shop


def test_what_is_in_maintenance_is_shown_with_reason_and_end(cli: Cli, words: FakeApi) -> None:
    lines = [" ".join(line.split()) for line in cli("maint").out.splitlines()[1:]]
    assert lines == ["orders 5s ago 0 moves\\x1b[31m", "zone:b 1m ago in 10m 1 power"]
    assert cli("maint", "--json").json[1]["instances"] == ["a/b"]


def test_targets_are_taken_out_and_given_back(cli: Cli, words: FakeApi) -> None:
    done = cli("maint", "on", "orders", "zone:b", "--for", "30m", "--reason", "why", "--json")
    assert done.json == {"orders": {"revision": 10}, "zone:b": {"revision": 10}}
    assert cli("maint", "off", "orders/orders-1").err == "orders/orders-1 takes requests again\n"
    assert [request.body for request in words.sent("POST")] == [
        {"target": "orders", "reason": "why", "seconds": 1800.0},
        {"target": "zone:b", "reason": "why", "seconds": 1800.0},
        {"target": "orders/orders-1"},
    ]


def test_a_machine_on_which_nothing_runs_is_taken_out_with_a_warning_that_names_those_there_are(
    cli: Cli, words: FakeApi
) -> None:
    words.put(
        Instance(service=ServiceName("orders"), id=InstanceId("o2"), host="127.0.0.1", port=1, node=NodeName("m1"))
    )
    assert "warning" not in cli("maint", "on", "node:m1", "--reason", "memory").err
    done = cli("maint", "on", "node:m2", "--reason", "memory")
    assert (done.code, words.sent("POST")[-1].body["target"]) == (0, "node:m2")
    assert "no instance is in node:m2 now" in done.err
    assert "instances run on node:m1" in done.err


def test_an_unknown_service_an_odd_target_and_a_missing_reason_are_refused(cli: Cli, words: FakeApi) -> None:
    refused = cli("maint", "on", "oders", "--reason", "x")
    assert refused.code == 1
    assert "did you mean `orders`?" in refused.err
    assert cli("maint", "on", "zone:a b", "--reason", "x").code == 2
    assert cli("maint", "on", "orders").code == 2
    assert not words.sent("POST")


def test_service_maint_is_a_word_about_one_instance(cli: Cli, words: FakeApi) -> None:
    words.answers["GET", "/api/v1/services/orders/instances/orders-1"] = (200, {"revision": 9, "instances": []})
    assert cli("service", "maint", "orders", "orders-1", "--cause", "disk").code == 0
    assert words.sent("POST")[0].body == {"target": "orders/orders-1", "reason": "disk", "seconds": None}
