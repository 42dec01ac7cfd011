"""Telemetry beside a platform: begun without being waited for, kept running, adopted, ended; traffic notices none of it."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import socket
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.system.platform.load import Load
from tests.system.platform.stage import Platform, alive, ask, closing, free_port, until
from tests.unit.telemetry.receive import bodies

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(importlib.util.find_spec("chdb") is None, reason='needs pip install "atoll[telemetry]"'),
]
PROJECT = """
name: observed
services:
  web: {command: python service.py, replicas: 2, healthcheck: {http: /healthz}}
gateway:
  routes: [{match: {path_prefix: /}, service: web}]
"""
RNG = random.Random(11)


def ports() -> dict[str, str]:
    return {
        "ATOLL_TELEMETRY_ENABLED": "1",
        "ATOLL_TELEMETRY_HTTP_PORT": str(free_port()),
        "ATOLL_TELEMETRY_GRPC_PORT": str(free_port()),
    }


@pytest.fixture(scope="module")
def observed() -> Iterator[Platform]:
    with closing(Platform.of(PROJECT, **ports())) as platform:
        platform.up()
        yield platform


def status(platform: Platform) -> Any:
    """What telemetry says, through the control plane; None: it is away."""
    answer = platform.api("GET", "/telemetry/status")
    if answer.status == 503:
        assert answer.json["code"] == "telemetry-unavailable"
        return None
    assert answer.status == 200, answer.body
    return answer.json


def answering(platform: Platform) -> Any:
    return until(lambda: status(platform), "telemetry answers", within=30)


def export(platform: Platform, count: int = 3) -> int:
    """Send spans; the answer's status."""
    body = bodies.traces(*[bodies.span(RNG) for _ in range(count)]).SerializeToString()
    token = (platform.state / "ingest-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-protobuf"}
    port = int(platform.environ["ATOLL_TELEMETRY_HTTP_PORT"])
    return ask(port, "/v1/traces", "POST", body, headers).status


def test_it_runs_beside_the_platform_and_takes_what_is_sent(observed: Platform) -> None:
    found = answering(observed)
    before = found["receive"].get("accepted", {}).get("traces", 0)
    assert found["http_port"] == int(observed.environ["ATOLL_TELEMETRY_HTTP_PORT"])
    until(lambda: "telemetry" in parts_of(observed), "the node knows")
    assert parts_of(observed)["telemetry"] == f"otlp :{found['grpc_port']} :{found['http_port']}"
    assert psutil.Process(found["pid"]).nice() == min(19, psutil.Process().nice() + 5)
    assert export(observed) == 200
    assert status(observed)["receive"]["accepted"]["traces"] == before + 3
    until(lambda: "telemetry" in [one["name"] for one in observed.node()["processes"]], "it is measured")
    # doctor learns from the node's report whose ports these are
    until(lambda: ours(doctor(observed), found["pid"]), "doctor knows its ports", every=0.2)
    assert not [one for one in doctor(observed) if one["check"] == "telemetry" and one["verdict"] == "broken"]


def ours(findings: list[dict[str, str]], pid: int) -> bool:
    """Whether telemetry answers, and its ports are known to be its own."""
    ports = [one["detail"] for one in findings if one["check"] == "ports" and one["detail"].startswith("otlp/")]
    answers = any(one["detail"].startswith(f"answers (pid {pid}") for one in findings if one["check"] == "telemetry")
    return answers and sum(f"is ours (pid {pid})" in one for one in ports) == len(ports) > 1


def doctor(platform: Platform) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(platform("doctor", "--json").out)["findings"]
    return found


def parts_of(platform: Platform) -> dict[str, str]:
    found: dict[str, str] = json.loads((platform.state / "run" / "node.json").read_text())["parts"]
    return found


def test_killed_it_comes_back_with_what_it_acknowledged_and_no_request_fails(observed: Platform) -> None:
    before = answering(observed)
    rows = before["engine"]["tables"].get("spans", {}).get("rows", 0)
    assert export(observed, 20) == 200
    with Load(observed.gateway_port, "/", only_get=True) as load:
        load.more(100)
        os.kill(before["pid"], signal.SIGKILL)
        after = until(
            lambda: (found := status(observed)) and found["pid"] != before["pid"] and found, "it is back", within=30
        )
        load.more(100)
    assert load.failed == [], load.told
    assert after["engine"]["tables"]["spans"]["rows"] >= rows + 20
    assert "telemetry ended and is started again" in observed.node_log()
    assert "killed by SIGKILL" in observed.node_log()


def test_what_atolls_own_processes_say_is_found_as_one_service_and_does_not_grow_by_being_found(
    observed: Platform,
) -> None:
    answering(observed)

    def own() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = observed.api("GET", "/logs?source=platform&service=atoll&limit=5000").json[
            "records"
        ]
        return found

    until(lambda: {one["instance"] for one in own()} >= {"node", "control-plane", "telemetry"}, "all three are heard")
    said = next(one for one in own() if one["instance"] == "node" and one["scope"].startswith("atoll."))
    assert said["level"] in {"INFO", "WARN", "WARNING", "ERROR"}
    before = status(observed)["parts"]["logs"]["lines"]
    for _ in range(100):
        assert observed.api("GET", "/logs?source=platform&service=atoll&limit=1").json["records"]
    # others may say something meanwhile, the questions do not
    assert status(observed)["parts"]["logs"]["lines"] - before < 100


def test_paused_it_holds_up_nobody(observed: Platform) -> None:
    pid = answering(observed)["pid"]
    with Load(observed.gateway_port, "/", only_get=True) as load:
        load.more(50)
        os.kill(pid, signal.SIGSTOP)
        try:
            load.more(300)
            assert observed("ps").code == 0
        finally:
            os.kill(pid, signal.SIGCONT)
        load.more(50)
    assert load.failed == [], load.told
    assert until(lambda: export(observed) == 200, "it goes on")


def kill_node(platform: Platform) -> None:
    node = platform.node_pid
    os.kill(node, signal.SIGKILL)
    until(lambda: not alive(node), "the node is dead")


def test_a_node_that_comes_back_adopts_it(observed: Platform) -> None:
    pid = answering(observed)["pid"]
    kill_node(observed)
    assert alive(pid)
    assert export(observed) == 200
    observed.up()
    assert answering(observed)["pid"] == pid

    def strangers() -> list[str] | None:
        """Ports whose holder the doctor does not know."""
        found = [one["detail"] for one in doctor(observed) if one["check"] == "ports"]
        return [one for one in found if "is ours" not in one] if found else None

    until(lambda: strangers() == [], "what the new node took over is no stranger")


def test_it_is_left_out_when_it_is_not_wanted_and_ended_when_it_ran_before(observed: Platform) -> None:
    pid = answering(observed)["pid"]
    kill_node(observed)
    observed.up("--no-telemetry")
    until(lambda: not alive(pid), "it is ended")
    assert status(observed) is None
    assert "telemetry" not in parts_of(observed)
    kill_node(observed)
    observed.up()
    assert answering(observed)["pid"] != pid


def test_a_port_that_was_asked_for_and_is_taken_is_refused_with_its_setting() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = {**ports(), "ATOLL_TELEMETRY_GRPC_PORT": str(other.getsockname()[1])}
        with closing(Platform.of(PROJECT, **taken)) as platform:
            done = platform("up", "-d")
            assert done.code == 1
            assert "ATOLL_TELEMETRY_GRPC_PORT" in done.err
