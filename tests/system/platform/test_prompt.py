"""What is promised in time, on a running platform. Only for a machine that has nothing else to do: `make system`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.system.platform.conftest import running
from tests.system.platform.stage import Platform, ask, until

pytestmark = [pytest.mark.timeout(90), pytest.mark.slow]
PROJECT = """
name: prompt
services:
  web:
    command: python service.py
    healthcheck: {http: /healthz}
    failover: {groups: [web, lite], return_after: 1s}
  shy: {command: python service.py, healthcheck: {http: /healthz}, circuit_breaker: {errors: 50%}}
  lite: {command: python service.py, healthcheck: {http: /healthz}}
  alone: {command: python service.py, replicas: 3, healthcheck: {http: /healthz, interval: 500ms, timeout: 1s}}
  ledger: {command: python service.py, replicas: 2, mode: active-passive, healthcheck: {http: /healthz}}
gateway:
  routes:
    - {match: {path_prefix: /web}, service: web}
    - {name: front, match: {path_prefix: /shy}, service: shy}
    - {match: {path_prefix: /alone}, service: alone}
    - {match: {path_prefix: /ledger}, service: ledger}
"""
TIMES = 5


@pytest.fixture(scope="module")
def shared() -> Iterator[Platform]:
    with running(PROJECT) as platform:
        yield platform


@pytest.fixture
def prompt(shared: Platform) -> Platform:
    """All there."""
    assert shared("wait", "--timeout", "20s").code == 0
    until(lambda: {one(shared, path) for path in ("/web", "/shy", "/alone", "/ledger")} == {200}, "all are served")
    return shared


def one(platform: Platform, path: str) -> int:
    return ask(platform.gateway_port, f"{path}/x").status


def took(condition: Callable[[], bool]) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    until(condition, "it happens", every=0.002)
    return time.monotonic() - began


def test_a_word_on_a_breaker_reaches_the_gateway_in_less_than_200_ms(prompt: Platform) -> None:
    took_each = []
    for path in ("/services/shy/breaker", "/routes/front/breaker") * TIMES:
        prompt.done("POST", path, {"state": "open", "seconds": 60, "reason": "it moves"})
        took_each.append(took(lambda: one(prompt, "/shy") == 503))
        prompt.done("POST", path, {"reason": "moved"})
        took_each.append(took(lambda: one(prompt, "/shy") == 200))
    assert max(took_each) < 0.2, took_each


def test_a_word_on_a_failover_is_obeyed_well_before_the_nodes_next_look(prompt: Platform) -> None:
    prompt.done("POST", "/services/web/failover", {"to": "lite", "seconds": 60, "reason": "it moves"})
    assert took(lambda: ask(prompt.gateway_port, "/web/x").instance == "lite-1") < 0.5
    assert prompt("failover", "web", "--back", "--reason", "moved").code == 0
    until(lambda: ask(prompt.gateway_port, "/web/x").instance == "web-1", "web serves again")


def test_a_new_route_is_followed_within_a_second(prompt: Platform) -> None:
    route = {"name": "fresh", "match": {"path": "/fresh"}, "shares": [{"service": "web"}]}
    prompt.done("PUT", "/routes/fresh", route)
    assert took(lambda: one(prompt, "/fresh") == 200) < 1.0
    prompt.done("DELETE", "/routes/fresh")


def test_that_nobody_is_there_is_said_within_5_ms_and_who_returns_serves_within_a_second(prompt: Platform) -> None:
    for pid in prompt.pids("alone").values():
        os.kill(pid, signal.SIGKILL)
    refused: list[float] = []
    passing = served = 0.0
    while not served:
        asked = time.monotonic()
        status = one(prompt, "/alone")
        if status == 503:
            refused.append(time.monotonic() - asked)
        elif refused:
            served = time.monotonic()
        found = prompt.done("GET", "/services/alone/instances")["instances"]
        if refused and not passing and any(each["state"] == "passing" for each in found):
            passing = time.monotonic()
    assert sorted(refused)[len(refused) // 2] < 0.005, refused
    assert served - (passing or served) < 1.0


def test_a_leader_that_is_killed_is_followed_within_three_seconds(prompt: Platform) -> None:
    leader = prompt.done("GET", "/services/ledger/leader")["instance"]
    os.kill(prompt.pids("ledger")[leader], signal.SIGKILL)

    def followed() -> bool:
        answer = ask(prompt.gateway_port, "/ledger/x")
        return answer.status == 200 and answer.instance != leader

    assert took(followed) < 3.0
