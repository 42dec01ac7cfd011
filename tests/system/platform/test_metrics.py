"""The numbers of a whole platform, as a scraper and the doctor see them while things happen to it."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
from typing import Any

import psutil
import pytest

from tests.system.platform.conftest import Maker
from tests.system.platform.stage import Platform, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: watched
services:
  web: {command: python service.py, healthcheck: {http: /healthz}}
  broken: {command: sh -c 'exit 3', port: none}
gateway:
  routes: [{match: {path_prefix: /}, service: web}]
"""


def numbers(platform: Platform) -> dict[str, float]:
    """Every series of a scrape."""
    connection = http.client.HTTPConnection("127.0.0.1", platform.api_port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {platform.token}"})
        answer = connection.getresponse()
        text = answer.read().decode()
    assert answer.status == 200, text
    return {series: float(number) for series, number in re.findall(r"^([a-z].*) (\S+)$", text, re.MULTILINE)}


def findings(platform: Platform) -> list[dict[str, Any]]:
    """What the doctor says."""
    found: list[dict[str, Any]] = platform("doctor", "--json").json["findings"]
    return found


def test_what_happens_to_a_platform_is_seen_in_its_numbers_and_by_the_doctor(platform: Maker) -> None:
    made = platform(PROJECT, ATOLL_SUPERVISOR_INTENSITY="2", ATOLL_SUPERVISOR_RESTART_CAP="0.5")
    made.up_without("broken")

    # all of our own processes are seen as large as the system sees them
    found = numbers(made)
    size = psutil.Process(made.node_pid).memory_info().rss
    assert 0.5 < found['atoll_process_resident_memory_bytes{process="node",node="local"}'] / size < 2
    assert found['atoll_process_resident_memory_bytes{process="gateway",node="local"}'] > 5 << 20
    assert found['atoll_process_open_fds{process="gateway",node="local"}'] > 10
    assert found['atoll_process_tasks{process="node",node="local"}'] > 5
    assert found['atoll_gateway_up{node="local"}'] == 1
    until(lambda: numbers(made)['atoll_gateway_last_good_age_seconds{node="local"}'] < 5, "the gateway is right")

    # one that does not stay up
    loops = 'atoll_children{node="local",phase="crash-loop"}'
    until(lambda: numbers(made)[loops] == 1, "a crash loop")
    assert numbers(made)['atoll_child_restarts_total{node="local",service="broken",instance="broken-1"}'] >= 2
    # between two attempts it is one, during an attempt it is starting
    (crash,) = until(lambda: [one for one in findings(made) if one["check"] == "services"], "the doctor sees it")
    assert (crash["verdict"], crash["fix"]) == ("broken", "atoll logs broken tells why")
    assert "broken-1 does not stay up" in crash["detail"]

    # a header that no rule reads yet needs a reload; its reason is counted
    route = {"name": "beta", "match": {"path": "/beta", "headers": {"x-beta": "1"}}, "shares": [{"service": "web"}]}
    made.done("PUT", "/routes/beta", route)
    reloads = 'atoll_gateway_reloads_total{node="local",reason="header-rule"}'
    until(lambda: numbers(made).get(reloads) == 1, "the reload is counted")
    until(made.settled, "the gateway runs it")
    until(lambda: numbers(made)['atoll_gateway_lag_revisions{node="local"}'] < 3, "no lag")

    # the control plane dies: its own counters start anew, the node's goes on
    os.kill(made.done("GET", "/status")["pid"], signal.SIGKILL)
    restarts = 'atoll_control_plane_restarts_total{node="local"}'

    def counted() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return numbers(made).get(restarts) == 1
        return False

    until(counted, "the restart is counted")
    assert numbers(made)[reloads] == 1

    # somebody with a wrong token
    for _ in range(3):
        assert made.api("GET", "/status", Authorization="Bearer wrong").status == 401
    assert numbers(made)['atoll_api_refusals_total{code="unauthorized"}'] >= 3
    assert any("requests were refused lately: unauthorized" in one["detail"] for one in findings(made))


@pytest.mark.slow  # the doctor believes a node for ten seconds
def test_a_node_that_hangs_is_seen_by_its_age_and_by_the_doctor(platform: Maker) -> None:
    made = platform(PROJECT)
    made.up_without("broken")
    with contextlib.ExitStack() as stack:
        os.kill(made.node_pid, signal.SIGSTOP)
        stack.callback(os.kill, made.node_pid, signal.SIGCONT)
        until(lambda: numbers(made)['atoll_node_report_age_seconds{node="local"}'] > 10.5, "its report is old")
        silent = [one for one in findings(made) if "last reported" in one["detail"]]
        assert [one["verdict"] for one in silent] == ["broken"]
