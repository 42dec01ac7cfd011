"""Processes that die: a service's instance, the node, the control plane, the proxy. Callers notice none of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.system.platform.conftest import Maker, running
from tests.system.platform.load import Load
from tests.system.platform.stage import ATOLL, Platform, alive, ask, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: fragile
services:
  web: {command: python service.py, replicas: 2, healthcheck: {http: /healthz}}
  worker: {command: sleep 3600, port: none}
gateway:
  routes: [{match: {path_prefix: /}, service: web}]
"""
SLOW = "/x?ms=20"


@pytest.fixture(scope="module")
def shared() -> Iterator[Platform]:
    with running(PROJECT) as platform:
        yield platform


@pytest.fixture
def fragile(shared: Platform) -> Platform:
    """Two of `web`, both routed."""
    shared.done("POST", "/services/web/scale", {"replicas": 2})
    shared.until_ready()
    until(lambda: len(shared.pids("web")) == 2 and shared.settled(), "two of them")
    until(lambda: alive(shared.gateway().get("pid") or 0), "the gateway that runs is reported")
    return shared


def control_plane(platform: Platform) -> int:
    return int(platform.done("GET", "/status")["pid"])


def registered(platform: Platform) -> dict[str, float]:
    """When each instance of `web` was registered."""
    return {one["id"]: one["registered"] for one in platform.done("GET", "/services/web/instances")["instances"]}


def test_an_instance_that_is_killed_is_replaced_and_no_get_fails(fragile: Platform) -> None:
    victim, restarts = fragile.pids("web")["web-1"], fragile.children("web")["web-1"].get("restarts", 0)
    with Load(fragile.gateway_port, SLOW, only_get=True) as load:
        load.more(200)
        os.kill(victim, signal.SIGKILL)
        until(lambda: fragile.pids("web").get("web-1", victim) != victim, "it is started again")
        before = load.instances["web-1"]
        until(lambda: load.instances["web-1"] > before, "it answers again")
        load.more(200)
    assert load.failed == [], load.told
    assert fragile.children("web")["web-1"]["restarts"] == restarts + 1
    assert until(lambda: fragile("wait", "web", "--timeout", "10s").code == 0, "it passes")
    verbs = [record["verb"] for record in fragile.done("GET", "/services/web/history")["records"]]
    assert verbs.count("registered") >= 2, verbs


def test_a_crash_loop_is_named_with_its_exit_code_and_its_last_words(platform: Maker) -> None:
    made = platform(
        PROJECT.replace(
            "worker: {command: sleep 3600, port: none}",
            "worker: {command: sh -c 'echo I cannot find my hat; exit 41', port: none}",
        ),
        ATOLL_SUPERVISOR_INTENSITY="3",
        ATOLL_SUPERVISOR_RESTART_BASE="0.05",
    )
    assert made("up", "-d").code == 0
    until(lambda: made.children("worker").get("worker-1", {}).get("phase") == "crash-loop", "it is in a crash loop")
    waited = made("wait", "--timeout", "200ms")
    assert waited.code == 3
    assert "worker" in waited.err
    assert "41" in waited.err
    row = next(row for row in made("ps", "--json").json if row["instance"] == "worker-1")
    assert row["state"] == "crash-loop"
    assert row["process"]["exit_code"] == 41
    assert row["process"]["last_lines"][-1].endswith("I cannot find my hat")
    assert "41" in row["cause"]
    assert "I cannot find my hat" in made("ps").out
    console = made.node_log()
    assert "exit 41" in console
    assert "I cannot find my hat" in console
    until(lambda: made.get("/").status == 200, "the others are untouched")
    until(lambda: len(made.pids("web")) == 2, "both of them")


def test_a_killed_node_is_not_missed_and_the_next_one_takes_over_what_runs(fragile: Platform) -> None:
    node, plane, proxy = fragile.node_pid, control_plane(fragile), fragile.gateway()["pid"]
    children, since = fragile.pids(), registered(fragile)
    with Load(fragile.gateway_port, SLOW) as load:
        load.more(200)
        os.kill(node, signal.SIGKILL)
        until(lambda: not alive(node), "the node is dead")
        load.more(300)
        fragile.up()
        until(lambda: fragile.node()["pid"] == fragile.node_pid, "the new node reports")
        load.more(300)
    assert load.failed == [], load.told
    assert fragile.node_pid != node
    assert fragile.pids() == children, "the same processes"
    assert control_plane(fragile) == plane
    assert fragile.gateway()["pid"] == proxy
    assert fragile.gateway()["reloads"] == 0
    assert registered(fragile) == since, "nobody was registered anew"
    os.kill(children["web-1"], signal.SIGKILL)
    until(lambda: fragile.pids("web").get("web-1") not in {None, children["web-1"]}, "the new node restarts its child")


@pytest.mark.slow
def test_a_child_that_ended_while_no_node_was_there_is_started_by_the_next(fragile: Platform) -> None:
    node, children = fragile.node_pid, fragile.pids()
    os.kill(node, signal.SIGKILL)
    until(lambda: not alive(node), "the node is dead")
    os.kill(children["web-2"], signal.SIGKILL)
    until(lambda: not alive(children["web-2"]), "its child is dead")
    assert all(fragile.get("/").status == 200 for _ in range(20)), "the other instance answers"
    fragile.up()
    now = until(lambda: len(found := fragile.pids()) == 3 and found, "all three run") or {}
    assert now["web-1"] == children["web-1"]
    assert now["worker-1"] == children["worker-1"]
    assert now["web-2"] != children["web-2"]


def test_a_killed_control_plane_is_not_missed_and_forgets_nothing(fragile: Platform) -> None:
    plane, children, since = control_plane(fragile), fragile.pids(), registered(fragile)
    with Load(fragile.gateway_port, SLOW) as load:
        load.more(200)
        os.kill(plane, signal.SIGKILL)
        until(lambda: answers(fragile), "it is back by itself")
        load.more(300)
    assert load.failed == [], load.told
    assert control_plane(fragile) != plane
    assert registered(fragile) == since, "nothing expired, nobody was registered anew"
    until(lambda: fragile.pids() == children, "the node reports the same processes")
    assert fragile.done("GET", "/status")["expired"] == 0
    assert fragile("scale", "web=3").code == 0
    until(lambda: {fragile.get("/").instance for _ in range(12)} == {"web-1", "web-2", "web-3"}, "the node heard it")


def answers(platform: Platform) -> bool:
    try:
        return ask(platform.api_port, "/readyz").status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_a_killed_proxy_is_back_within_a_second(fragile: Platform) -> None:
    killed = fragile.gateway()["pid"]
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()

    def again() -> bool:
        try:
            return fragile.get("/").status == 200
        except OSError:
            return False

    until(lambda: fragile.gateway().get("pid") not in {None, killed}, "another one runs")
    until(again, "it is back")
    assert time.monotonic() - began < 5, "bounded; usually a tenth of this"
    assert len(fragile.pids("web")) == 2


def zombies() -> set[int]:
    """Children of ours that nobody waited for; other tests may have left some."""
    return {child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE}


def test_one_ctrl_c_ends_everything_in_order_and_leaves_nothing(platform: Maker) -> None:
    """Also a grandchild in a session of its own, a child that ignores SIGTERM, and requests that were in flight."""
    made = platform(
        PROJECT.replace(
            "worker: {command: sleep 3600, port: none}",
            "worker: {command: [sh, -c, 'setsid sleep 3600 & sleep 3600'], port: none}\n"
            "  deaf: {command: [sh, -c, 'trap \"\" TERM; while :; do sleep 1; done'], port: none, stop_grace_period: 500ms}",
        )
    )
    others = zombies()
    node = subprocess.Popen(
        [*ATOLL, "up"],
        cwd=made.folder,
        env=made.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert node.stdout is not None
    shown = []
    for line in node.stdout:
        shown.append(line.decode())
        if "ready in" in shown[-1]:
            break
    made.look()
    assert any("setsid" in " ".join(p.cmdline()) or p.name() == "sleep" for p in made.processes())
    with Load(made.gateway_port, "/x?ms=100", rate=50, workers=8, only_get=True) as load:
        load.more(20)
        os.killpg(node.pid, signal.SIGINT)  # as a terminal does: the whole foreground group
        rest = node.stdout.read().decode()
        assert node.wait(30) == 130, rest
    # once the services are stopped the gateway says so (503), and then nobody listens; nothing is cut off in the middle
    cut = [one for one in load.failed if " 503 " not in one and not one.startswith("ConnectionRefused")]
    assert cut == [], load.told
    node.stdout.close()
    assert "stopping" in rest
    assert made.strays() == [], "not even for a moment after it said so"
    assert zombies() <= others
    assert json.loads(made("down", "--json").out)["stopped"] is False, "there was nothing left to end"
