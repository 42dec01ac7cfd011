"""Failover, maintenance and leaders on a running platform: processes die, operators speak, and callers are told the truth."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.platform.conftest import running
from tests.system.platform.load import Load
from tests.system.platform.stage import Answer, Platform, ask, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: groups
services:
  web:
    command: python service.py
    replicas: 2
    healthcheck: {http: /healthz, interval: 500ms, timeout: 1s}
    failover: {groups: [web, lite], return_after: 1s}
  lite: {command: python service.py, healthcheck: {http: /healthz}}
  alone: {command: python service.py, replicas: 3, healthcheck: {http: /healthz, interval: 500ms, timeout: 1s}}
  ledger: {command: python service.py, replicas: 2, mode: active-passive, healthcheck: {http: /healthz}}
gateway:
  routes:
    - {match: {path_prefix: /web}, service: web}
    - {match: {path_prefix: /alone}, service: alone}
    - {match: {path_prefix: /ledger}, service: ledger}
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Platform]:
    with running(PROJECT) as platform:
        yield platform


@pytest.fixture
def groups(shared: Platform) -> Platform:
    """All there and calm."""
    shared.done("POST", "/services/web/start")
    shared.until_ready()
    until(lambda: served_by(shared) == {"web-1", "web-2"}, "web serves itself")
    return shared


def served_by(platform: Platform, count: int = 6) -> set[str]:
    found = [ask(platform.gateway_port, "/web/x") for _ in range(count)]
    return {answer.instance if answer.status == 200 else str(answer.status) for answer in found}


def state(platform: Platform, service: str = "web") -> dict[str, Any]:
    (row,) = platform("failover", service, "--json").json
    return dict(row)


def group(platform: Platform, service: str = "web") -> str:
    """Where the node last said that its requests go."""
    return next((str(one["group"]) for one in platform.node().get("failovers", []) if one["service"] == service), "")


def states(platform: Platform, service: str) -> dict[str, str]:
    return {one["id"]: one["state"] for one in platform.done("GET", f"/services/{service}/instances")["instances"]}


def test_a_stopped_service_is_served_by_the_next_group_and_takes_its_requests_back_when_it_is_well(
    groups: Platform,
) -> None:
    assert groups("stop", "web").code == 0
    until(lambda: served_by(groups, 2) == {"lite-1"}, "lite serves")
    until(lambda: group(groups) == "lite", "the node says so")
    assert (state(groups)["state"], state(groups)["group"]) == ("degraded", "lite")
    assert "none of its instances takes requests" in groups("failover").out
    assert groups("start", "web").code == 0
    until(lambda: served_by(groups) == {"web-1", "web-2"}, "web serves again")
    until(lambda: group(groups) == "web", "the node says so")
    assert state(groups)["state"] == "ok"
    assert '"failover"' in groups.node_log() or "failover" in groups.node_log()


def test_an_operators_word_is_obeyed_survives_an_apply_and_is_taken_back(groups: Platform) -> None:
    groups.done("POST", "/services/web/failover", {"to": "lite", "seconds": 60, "reason": "its database moves"})
    until(lambda: served_by(groups, 1) == {"lite-1"}, "lite serves")
    groups.edit("return_after: 1s", "return_after: 2s")
    assert groups("apply", "--yes").code == 0
    assert served_by(groups) == {"lite-1"}
    until(lambda: state(groups)["state"] == "forced", "that is shown")
    assert "its database moves" in groups("failover", "web").out
    assert groups("failover", "web", "--back", "--reason", "moved").code == 0
    until(lambda: served_by(groups) == {"web-1", "web-2"}, "web serves again")
    groups.edit("return_after: 2s", "return_after: 1s")
    assert groups("apply", "--yes").code == 0
    refused = groups("failover", "web", "--to", "ledger", "--reason", "x")
    assert (refused.code, "its groups are: web, lite" in refused.err) == (2, True)


def test_maintenance_of_an_instance_outlives_its_process_and_the_control_plane(groups: Platform) -> None:
    assert groups("maint", "on", "alone/alone-1", "--reason", "its disk").code == 0
    until(lambda: states(groups, "alone")["alone-1"] == "maint", "it is out")
    victim = groups.pids("alone")["alone-1"]
    os.kill(victim, signal.SIGKILL)
    until(lambda: groups.pids("alone").get("alone-1", victim) != victim, "it is started again")
    plane = int(groups.done("GET", "/status")["pid"])
    os.kill(plane, signal.SIGKILL)
    until(lambda: another(groups, plane), "the control plane is back")
    until(lambda: groups.children("alone").get("alone-1", {}).get("phase") == "running", "it runs")
    until(lambda: set(states(groups, "alone").values()) == {"maint", "passing"}, "the registry knows all three")
    assert states(groups, "alone")["alone-1"] == "maint"
    until(lambda: alone(groups) == {"alone-2", "alone-3"}, "the others serve")
    assert "its disk" in groups("ps", "alone").out
    assert groups("maint", "off", "alone/alone-1").code == 0
    until(lambda: states(groups, "alone")["alone-1"] == "passing", "it is back")
    until(lambda: "alone-1" in alone(groups), "it gets requests")


def alone(platform: Platform) -> set[str]:
    """Who answers for `alone`."""
    return {ask(platform.gateway_port, "/alone/x").instance for _ in range(9)}


def test_a_machine_in_maintenance_loses_no_request_while_others_have_instances(groups: Platform) -> None:
    (node,) = (one["report"]["node"] for one in groups.done("GET", "/nodes")["nodes"])
    port = groups.guest("far-1")
    groups.register("alone", "far-1", port, node="m2", ttl=60)
    path = "/alone/x"
    until(lambda: "far-1" in {ask(groups.gateway_port, path).instance for _ in range(9)}, "it gets requests")
    with Load(groups.gateway_port, f"{path}?ms=5", rate=150, workers=8) as load:
        assert groups("maint", "on", f"node:{node}", "--reason", "its memory is replaced").code == 0
        until(lambda: {ask(groups.gateway_port, path).instance for _ in range(6)} == {"far-1"}, "only the other serves")
        load.more(100)
        assert set(states(groups, "alone").values()) == {"maint", "passing"}
        assert f"maintenance of node:{node}: its memory" in groups("ps", "alone").out
        told = groups("doctor").out
        assert f"node:{node} is out" in told
        assert f"every instance of web is out, by node:{node}" in told
        assert groups("maint", "off", f"node:{node}").code == 0
        until(lambda: "alone-1" in {ask(groups.gateway_port, path).instance for _ in range(9)}, "they are back")
        load.more(100)
    assert not load.failed, load.told
    groups.done("DELETE", "/services/alone/instances/far-1")


def another(platform: Platform, before: int) -> bool:
    try:
        return int(platform.done("GET", "/status")["pid"]) != before
    except (AssertionError, OSError):
        return False


def test_a_service_in_maintenance_says_so_by_every_way_and_one_with_groups_is_served_elsewhere(
    groups: Platform,
) -> None:
    assert groups("maint", "on", "alone", "web", "--for", "5m", "--reason", "moves").code == 0
    until(lambda: ask(groups.gateway_port, "/alone/x").status == 503 and groups.settled(), "it is out")
    for answer in (ask(groups.gateway_port, "/alone/x"), ask(groups.port_of("alone"), "/x")):
        assert (answer.status, answer.json["code"]) == (503, "maintenance")
        assert 200 < int(answer.headers["retry-after"]) <= 301
    until(lambda: served_by(groups, 2) == {"lite-1"}, "lite serves for web")
    assert "moves" in groups("service", "show", "alone").out
    assert groups("maint", "off", "alone", "web").code == 0
    until(lambda: ask(groups.gateway_port, "/alone/x").status == 200, "it is back")
    until(lambda: served_by(groups) == {"web-1", "web-2"}, "web serves itself")


def test_when_all_instances_die_callers_are_told_why_and_served_once_one_is_back(groups: Platform) -> None:
    codes: set[str] = set()

    def served() -> bool:
        answer = ask(groups.gateway_port, "/alone/x")
        if answer.status == 503:
            codes.add(answer.json["code"])
            assert answer.json["service"] == "alone"
            assert "retry-after" in answer.headers
        return answer.status == 200

    node = groups.node_pid
    os.kill(node, signal.SIGSTOP)  # they are not started again before somebody has asked for them
    try:
        for pid in groups.pids("alone").values():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not served(), "nobody serves")
    finally:
        os.kill(node, signal.SIGCONT)
    until(served, "it is served again")
    assert codes <= {"no-instance", "upstream-unreachable"}, "which one: whether HAProxy has heard of it yet"


def test_a_leader_that_is_killed_is_followed_by_another_with_a_greater_number(groups: Platform) -> None:
    leader = groups.done("GET", "/services/ledger/leader")
    seen: list[tuple[float, float, str, int]] = []
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            asked = time.monotonic()
            answer = ask(groups.gateway_port, "/ledger/x")
            if answer.status == 200:
                seen.append((asked, time.monotonic(), answer.instance, number(answer)))

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        until(lambda: len(seen) > 20, "the leader answers")
        os.kill(groups.pids("ledger")[leader["instance"]], signal.SIGKILL)
        until(lambda: any(each[3] > leader["fencing"] for each in tuple(seen)), "another one answers")
        until(lambda: sum(each[3] > leader["fencing"] for each in tuple(seen)) > 20, "it goes on")
    finally:
        over.set()
        for caller in callers:
            caller.join()
    after = next(each for each in seen if each[3] > leader["fencing"])
    now = groups.done("GET", "/services/ledger/leader")
    assert now["instance"] != leader["instance"]
    assert now["fencing"] > leader["fencing"]
    old, new = ((each["instance"], each["fencing"]) for each in (leader, now))
    assert {(each[2], each[3]) for each in seen} <= {old, new, (new[0], old[1])}, "nobody gets a number that came later"
    late = [each for each in seen if each[0] > after[1]]
    assert late
    assert {(each[2], each[3]) for each in late} == {new}, "only the leader, and no older number, after the change"
    told = groups("service", "history", "ledger").out
    assert "leading" in told
    assert f"fencing number {now['fencing']}" in told
    until(lambda: len(states(groups, "ledger")) == 2, "the old one is back")
    assert groups.done("GET", "/services/ledger/leader")["instance"] == now["instance"], "and stands by"


def number(answer: Answer) -> int:
    return int(answer.json["headers"]["x-atoll-fencing"])
