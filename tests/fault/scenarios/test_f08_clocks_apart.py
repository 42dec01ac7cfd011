"""F8: clocks of services are five minutes ahead and behind. Leases do not notice; their trace is one picture, and says so."""

from __future__ import annotations

import importlib.util
import json
import shutil
from typing import Any

import pytest

from tests.fault.faults import needs
from tests.fault.scenario import Scenario
from tests.system.instrument.stage import APPS
from tests.system.platform.stage import Platform, closing, free_port, until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("chdb") is None, reason='needs pip install "atoll[telemetry]"'),
]
OFF = 300.0
"""Seconds."""
SPANS = 8
"""Gateway; three servers, two of which call; and the mesh between."""
SERVICE = """
  {name}:
    command: python chain.py
    environment: {{NEXT: "{next}", LD_PRELOAD: "{library}", FAKETIME: "{off:+.0f}", FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1"}}
    depends_on: [{next}]
    healthcheck: {{http: /healthz, interval: 1s}}
"""
PROJECT = "name: apart\nservices:{services}\ngateway:\n  routes: [{{match: {{path_prefix: /}}, service: true-time}}]\n"


def project(library: str) -> str:
    chain = (("true-time", "ahead", 0.0), ("ahead", "behind", OFF), ("behind", "", -OFF))
    text = "".join(SERVICE.format(name=name, next=after, library=library, off=off) for name, after, off in chain)
    return PROJECT.format(services=text.replace("    depends_on: []\n", ""))


async def test_services_with_clocks_apart_are_one_trace_without_a_negative_bar(scenario: Scenario) -> None:
    environ = {
        "ATOLL_TELEMETRY_ENABLED": "1",
        "ATOLL_TELEMETRY_HTTP_PORT": str(free_port()),
        "ATOLL_TELEMETRY_GRPC_PORT": str(free_port()),
        "ATOLL_REGISTRY_TTL": "3",
    }
    library = str(needs.libfaketime())
    platform = Platform.of(project(library), **environ)
    shutil.copy(APPS / "chain.py", platform.folder / "chain.py")
    with closing(platform):
        platform.up()
        until(lambda: platform.api("GET", "/telemetry/status").status == 200, "telemetry answers", within=30)
        for _ in range(scenario.times(1, 20)):
            answer = platform.get("/", timeout=10)
            assert answer.status == 200
            clocks = json.loads(answer.body)
            assert clocks[1] - clocks[0] > OFF - 30, "the fault did not bite"
            assert clocks[0] - clocks[2] > OFF - 30, "the fault did not bite"
            identity = answer.headers["x-trace-id"]
            trace = until(lambda: whole(platform, identity), "the trace is there", within=15)  # noqa: B023
            judge(trace)
        drawn = platform("traces", identity)
        expired = platform.done("GET", "/status")["expired"]
    scenario.measured(spans=len(trace["spans"]), total_ms=trace["duration_ms"], expired=expired)
    assert "its clock is 300 s ahead; corrected here" in drawn.out, drawn.out
    assert "its clock is 300 s behind; corrected here" in drawn.out, drawn.out
    assert expired == 0


def whole(platform: Platform, identity: str) -> Any:
    found = platform.api("GET", f"/traces/{identity}")
    if found.status != 200:
        return None
    spans = found.json["spans"]
    return found.json if len(spans) == SPANS and not any(span.get("missing") for span in spans) else None


def judge(trace: Any) -> None:
    """No bar begins before the first or ends before it began, and none is minutes long."""
    by_id = {span["id"]: span for span in trace["spans"]}
    for span in trace["spans"]:
        assert span["at_ms"] >= 0, span
        assert 0 <= span["duration_ms"] < 60_000, span
        above = by_id.get(span.get("parent") or "")
        assert above is None or span["at_ms"] >= above["at_ms"], span
    marked = {span["service"] for span in trace["spans"] if abs(span.get("shift_ms", 0)) > 1000 * OFF / 2}
    assert marked == {"ahead", "behind"}
