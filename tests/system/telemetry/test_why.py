"""`atoll why` on a platform in which things are made to fail: the true cause is the first line."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.system.platform.stage import Answer, Platform, closing, free_port, until

pytestmark = pytest.mark.timeout(120)
PROJECT = """
name: faults
services:
  front: {command: python faulty.py}
  back: {command: python faulty.py}
  frail: {command: python faulty.py, restart: "no"}
  lone: {command: python faulty.py}
  hasty: {command: python faulty.py, circuit_breaker: {min_requests: 4, open: 60s}}
  moody: {command: python faulty.py, circuit_breaker: {min_requests: 4, open: 60s}}
  loops: {command: python faulty.py loops}
gateway:
  routes:
    - {name: front, match: {path_prefix: /front}, service: front}
    - {name: late, match: {path_prefix: /late}, service: front, timeout: 300ms}
    - {name: frail, match: {path_prefix: /frail}, service: frail}
    - {name: lone, match: {path_prefix: /lone}, service: lone}
    - {name: moody, match: {path_prefix: /moody}, service: moody}
    - {name: loops, match: {path_prefix: /loops}, service: loops}
    - {name: reads, match: {path_prefix: /reads, methods: [GET]}, service: front}
    - {name: hasty, match: {path_prefix: /hasty}, service: hasty}
"""


@pytest.fixture(scope="module")
def faults() -> Iterator[Platform]:
    environ = {
        "ATOLL_TELEMETRY_ENABLED": "1",
        "ATOLL_TELEMETRY_HTTP_PORT": str(free_port()),
        "ATOLL_TELEMETRY_GRPC_PORT": str(free_port()),
    }
    with closing(Platform.of(PROJECT, **environ)) as platform:
        shutil.copy(Path(__file__).with_name("faulty.py"), platform.folder)
        platform.up_without("loops")
        until(lambda: platform.api("GET", "/telemetry/status").status == 200, "telemetry answers")
        until(lambda: platform.children("loops").get("loops-1", {}).get("restarts", 0) >= 2, "it loops")
        yield platform


def why(faults: Platform, answer: Answer, status: int) -> dict[str, Any]:
    assert answer.status == status, (answer.status, answer.body[:500])
    done = faults("why", answer.headers["x-trace-id"], "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = done.json
    times = [one["at"] for one in found["evidence"]]
    assert times == sorted(times)
    return found


SEEDED = [
    ("GET", "/nowhere", 404, "no-route", "client", "no route takes GET"),
    ("POST", "/reads", 405, "method-not-allowed", "client", "not with POST"),
    ("GET", "/front%2fx", 400, "path-refused", "client", "refused"),
    ("GET", "/loops", 503, "crash-loop", "service", "exit 3"),
    ("GET", "/front/hang", 502, "upstream-answer", "service", "front-1 closed the connection without an answer"),
    ("GET", "/late?ms=900", 504, "upstream-timeout", "timeout", "front-1 did not answer within 3"),
    ("GET", "/late/call?who=back&what=x&wait=900", 504, "upstream-timeout", "timeout", "it waited for back"),
    ("GET", "/front/call?who=back&what=x&wait=600", 200, "slow", "service", "of it in back-1 (GET /back/x)"),
    ("GET", "/front/call?who=back&what=x&wait=900&within=0.3", 504, "gave-up", "timeout", "front gave up waiting for back"),
    ("GET", "/front/call?who=loops&what=x", 502, "crash-loop", "service", "loops is in a crash loop: exit 3"),
    ("GET", "/front/call?who=nobody&what=x", 502, "unknown-service", "service", "front called a service that is not registered"),
    ("GET", "/front/call?who=back&what=bug", 502, "service-error", "service", "back-1 answered 500 by itself: ERROR: KeyError: 'price'"),
    ("GET", "/front/full", 500, "disk-full", "service", "front-1 answered 500 because its disk is full"),
    ("GET", "/front/401", 401, "not-allowed", "client", "does not let this caller in"),
    ("GET", "/front/429", 429, "too-many-requests", "limit", "front-1 answered 429"),
    ("GET", "/front/ok", 200, "ok", "", "nothing failed"),
]  # fmt: skip
"""Method, path, status; and what `atoll why` shall say: code, origin, words of the first line."""


@pytest.fixture(scope="module")
def answers(faults: Platform) -> list[Answer]:
    """All asked at once: each trace is whole when its turn comes."""
    return [faults.get(path, method=method) for method, path, *_ in SEEDED]


@pytest.mark.parametrize("number", range(len(SEEDED)), ids=[f"{row[3]}-{row[1]}" for row in SEEDED])
def test_the_true_cause_is_named_first(faults: Platform, answers: list[Answer], number: int) -> None:
    _, _, status, code, origin, words = SEEDED[number]
    found = why(faults, answers[number], status)
    assert (found["code"], found["origin"]) == (code, origin)
    assert words in found["cause"]


@pytest.mark.slow
def test_an_instance_that_died_at_work_and_one_that_was_killed(faults: Platform) -> None:
    found = why(faults, faults.get("/frail/crash", method="POST"), 502)
    assert found["code"] == "dead-instance"
    assert "frail-1 died while it worked on the request: exit 7; its last line: the sky is falling" in found["cause"]
    assert faults("restart", "frail").code == 0
    until(lambda: faults.get("/frail").status == 200, "it is back")
    os.kill(faults.pids("frail")["frail-1"], signal.SIGKILL)
    gone = until(lambda: [one for one in (faults.get("/frail"),) if one.status == 503], "it is gone")[0]
    found = why(faults, gone, 503)
    assert found["code"] == "dead-instance"
    assert "frail-1 of frail was dead: killed by SIGKILL" in found["cause"]


class Broken(NamedTuple):
    """Answers of a platform that somebody took apart; it stays so while it is asked why."""

    taken_out: Answer
    stopped: Answer
    breaker: Answer
    hurried: Answer
    forced: Answer
    named: Answer
    made: Answer
    """By nobody's fault; `named` has a request id of its own."""


@pytest.fixture(scope="module")
def broken(faults: Platform, answers: list[Answer]) -> Broken:
    """All of it at once: a request is explained a second or two after its end, when all that is said of it has come."""
    named = faults.get("/nowhere", headers={"X-Request-Id": "order.7_mine"})
    made = faults.get("/front/ok")
    file = faults.folder / "atoll.yaml"
    file.write_text(file.read_text().replace("/hasty}, service: hasty", "/hasty}, service: hasty, timeout: 200ms"))
    assert faults("apply", "--yes").code == 0
    hurried = when(faults, "/hasty?ms=600", 504, "the change holds")
    faults.done("PUT", "/services/back/instances/back-1/state", {"state": "maint", "cause": "new disk"})
    taken_out = when(faults, "/front/call?who=back&what=x", 502, "back is gone")
    assert faults("stop", "lone").code == 0
    stopped = when(faults, "/lone", 503, "lone is gone")
    breaker = when(faults, "/moody/full", 503, "the breaker opens")
    assert faults("breakers", "open", "hasty", "--reason", "its disk is changed").code == 0
    forced = when(faults, "/hasty/ok", 503, "the word holds")
    return Broken(taken_out, stopped, breaker, hurried, forced, named, made)


def when(faults: Platform, path: str, status: int, what: str) -> Answer:
    """The first answer of this status."""
    return until(lambda: [one for one in (faults.get(path),) if one.status == status], what)[0]


def test_all_instances_taken_out_by_somebody(faults: Platform, broken: Broken) -> None:
    found = why(faults, broken.taken_out, 502)
    assert found["code"] == "out-of-service"
    assert "all of back was taken out: back-1 maint (new disk)" in found["cause"]


def test_a_service_that_somebody_stopped(faults: Platform, broken: Broken) -> None:
    found = why(faults, broken.stopped, 503)
    assert (found["code"], found["next"]) == ("stopped", ["atoll start lone"])


def test_a_breaker_that_opened_and_one_that_was_forced(faults: Platform, broken: Broken) -> None:
    found = why(faults, broken.breaker, 503)
    assert (found["code"], found["origin"]) == ("breaker-open", "breaker")
    assert "the circuit breaker of moody was open" in found["cause"]
    said = why(faults, broken.forced, 503)["cause"]
    assert said.startswith("an operator")
    assert "open: its disk is changed" in said


def test_a_change_that_broke_it(faults: Platform, broken: Broken) -> None:
    found = why(faults, broken.hurried, 504)
    assert found["code"] == "bad-change"
    assert "after hasty was changed: route hasty: policy.timeout unset → 0.2" in found["cause"]


def test_a_clients_own_request_id_and_the_one_that_was_made_find_it(faults: Platform, broken: Broken) -> None:
    assert json_of(faults, "order.7_mine")["trace"] == broken.named.headers["x-trace-id"]
    trace = broken.made.headers["x-trace-id"]
    assert json_of(faults, f"{trace}-{'0' * 16}")["trace"] == trace


def json_of(faults: Platform, request: str) -> Any:
    done = faults("why", request, "--json")
    assert done.code == 0, done.err
    return done.json


@pytest.mark.slow
def test_what_nobody_knows_is_said(faults: Platform) -> None:
    done = faults("why", "never-seen")
    assert done.code == 1
    assert "no request with the trace or request id never-seen is known" in done.err
    assert faults("why", "a b\x1b[2J").code == 2


def test_for_people_the_first_line_is_the_cause(faults: Platform, answers: list[Answer]) -> None:
    answer = answers[0]
    done = faults("why", answer.headers["x-trace-id"])
    first, _, *rest = done.out.splitlines()
    assert first.startswith("no route takes GET http://")
    assert any("TIME" in line and "WHAT" in line for line in rest)
    assert "next" in rest
