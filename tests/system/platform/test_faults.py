"""Injected faults on a running platform: said on the command line, met by clients, told by `atoll why`, forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.platform.conftest import running
from tests.system.platform.stage import Platform, ask, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: faulty
services:
  web: {command: python service.py, healthcheck: {http: /healthz}}
  calm: {command: python service.py, healthcheck: {http: /healthz}}
gateway:
  routes:
    - {match: {path_prefix: /web}, service: web}
    - {name: calm, match: {path_prefix: /calm}, service: calm}
"""


@pytest.fixture(scope="module")
def faulty() -> Iterator[Platform]:
    with running(PROJECT) as platform:
        yield platform


def test_a_fault_strikes_whom_it_is_said_of_until_it_is_cleared(faulty: Platform) -> None:
    done = faulty("fault", "add", "web", "--abort", "418", "--for", "1m", "--reason", "tea", "--json")
    assert (done.code, done.json["fault"]["name"]) == (0, "web.abort")
    until(lambda: ask(faulty.gateway_port, "/web/x").status == 418, "it strikes")
    answer = ask(faulty.gateway_port, "/web/x")
    assert (answer.headers["x-fault-injected"], answer.json["code"]) == ("abort", "fault-injected")
    assert ask(faulty.gateway_port, "/calm/x").status == 200
    (row,) = faulty("fault", "list", "--json").json
    assert (row["service"], row["abort"], row["reason"]) == ("web", 418, "tea")
    assert faulty("fault", "clear", "web.abort").code == 0
    until(lambda: ask(faulty.gateway_port, "/web/x").status == 200, "it is over")
    assert faulty("fault", "clear", "web.abort").code == 1


def test_a_fault_is_over_and_forgotten_by_itself(faulty: Platform) -> None:
    for seconds in (1, 8):  # a machine that stands still for the whole of one second may ask nothing in it
        faulty.done("POST", "/faults", {"route": "calm", "abort": 503, "seconds": seconds, "reason": "short"})
        struck = False
        while faulty.done("GET", "/faults")["faults"]:
            struck = struck or ask(faulty.gateway_port, "/calm/x").status == 503
        until(lambda: ask(faulty.gateway_port, "/calm/x").status == 200, "it is over")
        if struck:
            break
    assert struck
    assert faulty("fault", "list", "--json").json == [], "it is not listed"


@pytest.mark.parametrize(
    "said",
    [
        {"service": "web", "delay": 0.1, "reason": " "}, {"service": "web", "delay": 0.1, "percent": 101, "reason": "x"},
        {"service": "web", "delay": -1, "reason": "x"}, {"service": "web", "reason": "x"},
        {"service": "web", "abort": 200, "reason": "x"}, {"delay": 0.1, "reason": "x"},
        {"service": "web", "delay": 0.1, "reason": "x", "seconds": 0},
        {"service": "web", "delay": 0.1, "reason": "x", "header": "a b", "value": "%[src]"},
    ],
    ids=["no reason", "101 %", "negative", "nothing", "success", "nowhere", "no time", "hostile"],
)  # fmt: skip
def test_an_absurd_fault_is_refused(faulty: Platform, said: dict[str, object]) -> None:
    before = faulty.done("GET", "/faults")["faults"]
    refused = faulty.api("POST", "/faults", said)
    assert (refused.status, refused.json["code"] in {"invalid-value", "invalid-name"}) == (422, True)
    assert refused.json["field"]
    assert faulty.done("GET", "/faults")["faults"] == before


def test_what_does_not_exist_cannot_be_struck(faulty: Platform) -> None:
    for place in ({"service": "nobody"}, {"route": "nowhere"}, {"service": "web", "caller": "nobody"}):
        assert faulty.api("POST", "/faults", {**place, "delay": 0.1, "reason": "x"}).status == 404
