"""Circuit breakers on a running platform: a failing service is left alone, an operator's word is obeyed at once."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.platform.conftest import running
from tests.system.platform.stage import Answer, Platform, ask, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: moods
services:
  web:
    command: python service.py
    healthcheck: {http: /healthz}
    circuit_breaker: {errors: 50%, window: 10s, min_requests: 6, open: 1s, probes: 2}
  calm: {command: python service.py, healthcheck: {http: /healthz}, calls: {web: {}}}
gateway:
  routes:
    - {name: front, match: {path_prefix: /web}, service: web}
    - {match: {path_prefix: /calm}, service: calm}
"""
FAILING, FINE = "/web/x?status=500", "/web/x"


@pytest.fixture(scope="module")
def moods() -> Iterator[Platform]:
    with running(PROJECT) as platform:
        yield platform


def refused(answer: Answer) -> bool:
    return answer.status == 503 and answer.json["code"] == "breaker-open"


def shown(platform: Platform, name: str = "web") -> dict[str, Any]:
    """The row of a service."""
    return next(row for row in platform("breakers", "--json").json if row["service"] == name)


def reset(platform: Platform) -> None:
    platform.done("POST", "/services/web/breaker", {"reason": "the next test"})
    until(lambda: ask(platform.gateway_port, FINE).status == 200, "it lets through")


def calm(platform: Platform) -> None:
    """Reset, and about to count: what opens within the second of the word is taken as reset."""
    reset(platform)
    said = int(time.time())
    until(lambda: int(time.time()) > said, "that second is over")


def test_a_failing_service_is_left_alone_shown_and_taken_back(moods: Platform) -> None:
    calm(moods)
    began = int(time.time())
    until(lambda: refused(ask(moods.gateway_port, FAILING)), "it opens")
    assert ask(moods.gateway_port, "/calm/x").status == 200
    until(lambda: series(moods, "opened_total") >= 1, "it is told")
    assert shown(moods)["seen"]["opened"] >= 1
    until(lambda: [ask(moods.gateway_port, FINE).status for _ in range(5)] == [200] * 5, "it closes by itself")
    until(lambda: shown(moods)["state"] == "closed", "that is told")
    assert series(moods, "state") == 0
    until(lambda: series(moods, "rejected_total") >= 1, "who was kept away is counted")
    assert "a circuit breaker changed" in moods.node_log()
    past = until(lambda: since_it_opened(moods, began), "its history is told")
    # the node looks once a second: what lasts less may not be seen
    assert [one["state"] for one in past] in (["open", "half-open", "closed"], ["open", "closed"])
    assert "requests failed; it opens at " in past[0]["reason"]  # as counted when the node looked
    assert [one["at"] for one in past] == sorted(one["at"] for one in past)
    assert "all probes succeeded" in moods("service", "history", "web").out


def since_it_opened(platform: Platform, began: int) -> list[Any]:
    """What the breaker did by itself from its last opening on, of what it did since `began`; once it has closed."""
    past = [one for one in history(platform) if not one["forced"] and one["at"] >= began]
    opened = max((at for at, one in enumerate(past) if one["state"] == "open"), default=0)
    return past[opened:] if past and (past[opened]["state"], past[-1]["state"]) == ("open", "closed") else []


def series(platform: Platform, name: str) -> float:
    """A number of the breaker of `web`, as it is scraped; 0 before the node has told of it."""
    text = ask(platform.api_port, "/metrics", headers={"Authorization": f"Bearer {platform.token}"}).body.decode()
    start = f'atoll_breaker_{name}{{node="local",service="web",caller=""}} '
    return float(next((line for line in text.splitlines() if line.startswith(start)), " 0").rpartition(" ")[2])


def shut(port: int, target: str) -> bool:
    """Whether nobody is let through there."""
    return refused(ask(port, target))


def reported(platform: Platform, *, sticky: bool) -> None:
    """Wait for another report of the node, which tells what breakers did since the one before; another fact makes it soon."""

    def age() -> float:
        return float(platform.done("GET", "/nodes")["nodes"][0]["age"])

    platform.done("PUT", "/services/outside", {"name": "outside", "sticky": sticky})
    began = time.monotonic()
    until(lambda: age() < time.monotonic() - began, "the node reports")


def history(platform: Platform) -> list[dict[str, Any]]:
    """What the breakers of `web` did."""
    told: list[dict[str, Any]] = platform("breakers", "history", "web", "--json").json
    return told


def test_a_word_on_a_call_or_a_route_reaches_the_gateway_and_concerns_no_one_else(
    moods: Platform,
) -> None:
    reset(moods)
    call = moods.done("GET", "/services/calm")["service"]["calls"]["web"]["mesh_index"]
    mesh = moods.gateway()["mesh_ports"] + call
    said = {"state": "open", "seconds": 60, "reason": "it floods it"}
    for path, body, port, target in (
        ("/services/web/breaker", {**said, "caller": "calm"}, mesh, "/x"),
        ("/routes/front/breaker", said, moods.gateway_port, FINE),
    ):
        assert ask(port, target).status == 200
        moods.done("POST", path, body)
        until(functools.partial(shut, port, target), "it is open")
        assert ask(moods.port_of("web"), "/x").status == 200

    def states() -> dict[str, str]:
        return {row["caller"]: row["state"] for row in moods("breakers", "--json").json if row["service"] == "web"}

    # the node tells once a second, also of the word of the test before
    until(lambda: states() == {"": "closed", "calm": "open", "route:front": "open"}, "it is shown")
    moods.edit("window: 10s", "window: 9s")
    assert moods("apply", "--yes").code == 0
    assert refused(ask(mesh, "/x"))
    assert moods("breakers", "reset", "web", "--caller", "calm", "--reason", "it is over").code == 0
    assert moods("breakers", "reset", "--route", "front", "--reason", "it is over").code == 0
    until(lambda: ask(mesh, "/x").status == ask(moods.gateway_port, FINE).status == 200, "both are let through")
    told = [(one["caller"], one["forced"], one["reason"]) for one in history(moods)]
    assert ("calm", True, "for 60 s, by an operator: it floods it") in told
    assert ("route:front", False, "begins anew, by an operator: it is over") in told


def test_without_a_control_plane_breakers_work_and_what_they_did_is_told_later(moods: Platform) -> None:
    calm(moods)
    began = int(time.time())
    (plane,) = [one for one in moods.processes() if one.cmdline()[-1:] == ["server"] or "server" in one.cmdline()[3:4]]
    plane.suspend()
    try:
        until(lambda: refused(ask(moods.gateway_port, FAILING)), "it opens")
        until(lambda: [ask(moods.gateway_port, FINE).status for _ in range(5)] == [200] * 5, "it closes by itself")
    finally:
        plane.resume()

    until(lambda: since_it_opened(moods, began), "it is told")
    told = history(moods)
    for sticky in (True, False):
        reported(moods, sticky=sticky)
    assert history(moods) == told


def test_a_word_reaches_the_gateway_and_survives_an_apply(moods: Platform) -> None:
    reset(moods)
    moods.done("POST", "/services/web/breaker", {"state": "open", "seconds": 60, "reason": "its database moves"})
    until(lambda: refused(ask(moods.gateway_port, FINE)), "it is open")
    moods.edit("errors: 50%", "errors: 40%")
    assert moods("apply", "--yes").code == 0
    assert refused(ask(moods.gateway_port, FINE))
    until(lambda: shown(moods)["forced"], "the node tells of it")
    row = shown(moods)
    assert (row["state"], row["forced"], row["policy"]["errors"]) == ("open", True, 40)
    assert "its database moves" in moods("breakers").out
    assert moods("breakers", "close", "web", "--for", "1m", "--reason", "it must").code == 0
    until(lambda: ask(moods.gateway_port, FINE).status == 200, "it is closed")
    assert {ask(moods.gateway_port, FAILING).status for _ in range(20)} == {500}
    assert moods("breakers", "open", "nobody", "--reason", "x").code == 1
    assert moods("breakers", "open", "web").code == 2


@pytest.mark.parametrize(
    "said",
    [
        {"state": "open"}, {"state": "open", "reason": " "}, {"state": "half-open", "reason": "x"},
        {"state": "open", "seconds": 0, "reason": "x"}, {"state": "open", "seconds": 1e9, "reason": "x"},
        {"state": "open", "reason": "x" * 201},
    ],
    ids=["no reason", "an empty one", "half-open", "no time", "for ever", "a long reason"],
)  # fmt: skip
def test_a_word_that_makes_no_sense_is_refused(moods: Platform, said: dict[str, object]) -> None:
    before = moods.done("GET", "/services/web")["service"]
    refused = moods.api("POST", "/services/web/breaker", said)
    assert (400 <= refused.status < 500, refused.headers["content-type"]) == (True, "application/problem+json")
    assert moods.done("GET", "/services/web")["service"] == before
