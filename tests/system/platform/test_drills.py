"""Drills on a living platform: what they prove, what they write down, and that they undo what they did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.system.platform.conftest import Maker, running
from tests.system.platform.stage import ATOLL, Platform, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: drilled
services:
  web:
    command: python service.py
    replicas: 3
    healthcheck: {http: /healthz, interval: 500ms, timeout: 300ms}
gateway:
  routes: [{name: web, match: {path_prefix: /}, service: web}]
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Platform]:
    with running(PROJECT) as platform:
        yield platform


@pytest.fixture
def drilled(shared: Platform) -> Platform:
    until(lambda: len(shared.pids("web")) == 3, "three of them")
    shared.until_ready("web")
    return shared


def histories(platform: Platform) -> list[dict[str, Any]]:
    records = platform.done("GET", "/services/web/history")["records"]
    return [one for one in records if one["verb"] == "drill"]


def test_killing_one_of_three_loses_nothing_and_the_report_proves_it(drilled: Platform) -> None:
    victim = drilled.pids("web")["web-2"]
    done = drilled("drill", "kill", "web-2", "--for", "2s", "--rate", "80", "--yes", "--expect-lost", "0", "--json")
    assert done.code == 0, done.err
    report = done.json
    verdict = report["verdict"]
    assert (verdict["requests"], verdict["lost"], report["of"]) == (160, 0, 3)
    assert verdict["statuses"] == {"200": 160}
    assert verdict["full"] is not None, "it came back"
    assert sum(verdict["instances"].values()) >= 130
    assert drilled.pids("web")["web-2"] != victim
    assert drilled("drill", "show", "--json").json == report
    kept = drilled.state / "drills" / f"{report['id']}.requests.jsonl"
    assert sum(len(json.loads(line)) > 3 for line in kept.read_text().splitlines()) == 160
    begun, ended = histories(drilled)[-2:]
    assert begun["instance"] == "web-2"
    assert "kill" in begun["cause"]
    assert report["summary"] in ended["cause"]


@pytest.mark.slow  # HAProxy needs a second and more to notice: two checks, each with its time to answer
def test_a_paused_one_is_taken_out_and_is_back_afterwards_as_the_same_process(drilled: Platform) -> None:
    before = drilled.pids("web")
    done = drilled("drill", "pause", "web-1", "--for", "5s", "--hold", "2.5s", "--rate", "20", "--yes", "--json")
    assert done.code == 0, done.err
    verdict = done.json["verdict"]
    assert verdict["out"] is not None, "HAProxy noticed"
    assert verdict["lost"] == 0, "who was sent to it waited until it went on"
    assert verdict["full"] > 0, "it was missed and came back"
    assert verdict["recovered"] is not None
    assert drilled.pids("web") == before
    assert psutil.Process(before["web-1"]).status() != psutil.STATUS_STOPPED


@pytest.mark.slow
def test_a_broken_promise_is_exit_code_1(drilled: Platform) -> None:
    done = drilled("drill", "kill", "web", "--for", "2s", "--yes", "--expect-lost", "0")
    assert done.code == 1, "all three were dead"
    assert "lost ≤ 0: BROKEN" in done.out
    assert "503" in done.out


def test_a_drill_that_is_killed_leaves_nothing_paused(drilled: Platform) -> None:
    victim = psutil.Process(drilled.pids("web")["web-3"])
    drill = subprocess.Popen(
        [*ATOLL, "drill", "pause", "web-3", "--for", "5s", "--hold", "3s", "--yes"],
        cwd=drilled.folder,
        env=drilled.environ,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: victim.status() == psutil.STATUS_STOPPED, "it is paused")
    finally:
        os.kill(drill.pid, signal.SIGKILL)
        drill.wait()
    until(lambda: victim.status() != psutil.STATUS_STOPPED, "the guard let it go on")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_its_relatives_undo_the_fault(drilled: Platform, number: signal.Signals) -> None:
    victim = psutil.Process(drilled.pids("web")["web-3"])
    drill = subprocess.Popen(
        [*ATOLL, "drill", "pause", "web-3", "--for", "5s", "--yes"],
        cwd=drilled.folder,
        env=drilled.environ,
        stderr=subprocess.PIPE,
    )
    until(lambda: victim.status() == psutil.STATUS_STOPPED, "it is paused")
    drill.send_signal(number)
    _, said = drill.communicate(timeout=20)
    assert drill.returncode == 130, said
    assert victim.status() != psutil.STATUS_STOPPED


def test_what_cannot_be_drilled_is_refused_with_what_to_do(drilled: Platform) -> None:
    assert "did you mean `web-" in drilled("drill", "kill", "web-l", "--yes").err
    assert "--yes" in drilled("drill", "kill", "web-1").err
    assert "500" in drilled("drill", "kill", "web-1", "--rate", "5000", "--yes").err
    assert "60" in drilled("drill", "kill", "web-1", "--for", "2h", "--yes").err


@pytest.mark.slow
def test_a_gateway_that_others_can_reach_is_only_drilled_when_that_is_meant(platform: Maker) -> None:
    open_to_all = platform(PROJECT, ATOLL_GATEWAY_HOST="0.0.0.0")
    open_to_all.up()
    refused = open_to_all("drill", "kill", "web-1", "--for", "2s", "--yes")
    assert refused.code == 1
    assert "--yes-i-really-mean-it" in refused.err
    meant = open_to_all("drill", "kill", "web-1", "--for", "2s", "--yes", "--yes-i-really-mean-it")
    assert meant.code == 0, meant.err
