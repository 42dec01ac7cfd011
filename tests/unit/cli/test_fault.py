from __future__ import annotations

from typing import Any

import pytest

from atoll.testing import FakeClock
from tests.unit.cli.fake_api import Cli, FakeApi

PATH = "/api/v1/faults"


def fact(wall: float, **values: Any) -> dict[str, Any]:
    said = {
        "name": "orders.delay",
        "service": "orders",
        "delay": 0.2,
        "percent": 10.0,
        "since": wall,
        "until": wall + 300,
    }
    return {**said, "reason": "what do\x1b[31m clients see?", **values}


@pytest.fixture
def faulty(cli: Cli, api: FakeApi) -> FakeApi:
    cli.clock = clock = FakeClock()
    api.answers["GET", PATH] = (200, {"revision": 7, "faults": [fact(clock.wall())]})
    api.answers["POST", PATH] = (201, {"revision": 8, "fault": fact(clock.wall())})
    api.answers["DELETE", PATH] = (200, {"revision": 9})
    api.answers["DELETE", f"{PATH}/orders.delay"] = (200, {"revision": 10})
    return api


def test_a_fault_is_sent_as_it_was_said(cli: Cli, faulty: FakeApi) -> None:
    done = cli(
        "fault", "add", "orders", "--caller", "web", "--delay", "200ms", "--jitter", "50ms", "--percent", "10",
        "--header", "X-User=ana=1", "--for", "2m", "--reason", "why",
    )  # fmt: skip
    assert done.code == 0
    (sent,) = faulty.sent("POST")
    assert {key: value for key, value in sent.body.items() if value not in (None, "", False)} == {
        "service": "orders", "caller": "web", "delay": 0.2, "jitter": 0.05, "percent": 10.0, "header": "X-User",
        "value": "ana=1", "seconds": 120.0, "reason": "why",
    }  # fmt: skip


def test_faults_are_listed_for_people_and_for_scripts(cli: Cli, faulty: FakeApi) -> None:
    _, line = cli("fault", "list").out.splitlines()
    assert " ".join(line.split()) == "orders.delay orders 200 ms late 10 in 5m what do\\x1b[31m clients see?"
    (row,) = cli("fault", "list", "--json").json
    assert (row["name"], row["delay"], row["abort"], row["percent"]) == ("orders.delay", 0.2, None, 10.0)


def test_one_fault_is_cleared_or_all(cli: Cli, faulty: FakeApi) -> None:
    assert cli("fault", "clear", "orders.delay", "--json").json == {"revision": 10}
    assert cli("fault", "clear", "--json").json == {"revision": 9}


@pytest.mark.parametrize(
    "words",
    [
        ("add", "orders", "--delay", "1s"), ("add", "orders", "--reason", "x", "--delay", "soon"),
        ("add", "orders", "--reason", "x", "--abort", "teapot"), ("clear", "a b"),
        ("add", "orders", "--reason", "x", "--abort", "500", "--header", "x-user"),
    ],
)  # fmt: skip
def test_a_fault_that_is_not_whole_is_not_sent(cli: Cli, faulty: FakeApi, words: tuple[str, ...]) -> None:
    assert cli("fault", *words).code == 2
    assert faulty.sent("POST") == faulty.sent("DELETE") == []
