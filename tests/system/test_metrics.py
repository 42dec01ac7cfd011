"""The platform's own numbers, as a scraper gets them from a real control plane."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import (
    BreakerReport,
    ChildReport,
    FailoverReport,
    GatewayReport,
    LimitReport,
    LoopReport,
    NodeReport,
    Phase,
    ProcessReport,
    ServerReport,
)
from atoll.server.metrics import TABLE
from tests.system.api_stage import Plane, plane_at, settings_in

SAMPLE = re.compile(r'(atoll_\w+)(\{(?:\w+="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)')


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane_at(settings_in(tmp_path)) as found:
        yield found


def busy_node() -> NodeReport:
    child = ChildReport(
        service=ServiceName("orders"), instance=InstanceId("orders-1"), phase=Phase.CRASH_LOOP, restarts=7, lines_cut=2
    )
    return NodeReport(
        node=NodeName("n1"),
        children=(child, child),
        gateway=GatewayReport(
            pid=5,
            revision=1,
            reload_kinds={"listener": 3},
            last_good_age=12.5,
            old_workers=2,
            panics=(ServiceName("orders"),),
        ),
        servers=(
            ServerReport(service=ServiceName("orders"), instance=InstanceId("orders-1"), up=True, share=0, ejections=2),
        ),
        loop=LoopReport(lag=0.5, blocked=4, warning="the event loop was blocked by x"),
        processes=(ProcessReport(name="gateway", memory=1 << 20),),
        facts_age=3.0,
        breakers=(BreakerReport(service=ServiceName("orders"), opened=1),),
        limits=(LimitReport(who="orders", under_way=3, refused=1),),
        failovers=(FailoverReport(service=ServiceName("orders"), group="orders-lite", at=1),),
    )


async def scraped(plane: Plane) -> dict[str, float]:
    answer = await plane.ask("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, float] = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            series = match[1] + (match[2] or "")
            assert series not in found, series
            found[series] = float(match[3])
    return found


async def test_every_metric_is_told_and_every_one_has_series_once_a_node_reports(plane: Plane) -> None:
    await plane.register("orders", "orders-1", 9001)
    await plane.ask("GET", "/api/v1/nothing")
    await plane.sdk.report(busy_node())
    found = await scraped(plane)
    assert {series.partition("{")[0] for series in found} == {metric.name for metric in TABLE}


async def test_the_numbers_are_those_of_the_platform(plane: Plane) -> None:
    await plane.register("orders", "orders-1", 9001)
    await plane.ask("GET", "/api/v1/nothing")
    await plane.sdk.report(busy_node())
    revision = plane.serving.control.store.revision
    found = await scraped(plane)
    assert found["atoll_store_revision"] == revision
    assert found['atoll_instances{state="passing"}'] + found['atoll_instances{state="suspect"}'] == 1
    assert found['atoll_api_refusals_total{code="not-found"}'] == 1
    assert found['atoll_gateway_lag_revisions{node="n1"}'] == revision - 1
    assert found['atoll_gateway_reloads_total{node="n1",reason="listener"}'] == 3
    assert found['atoll_children{node="n1",phase="crash-loop"}'] == 2
    assert found['atoll_child_restarts_total{node="n1",service="orders",instance="orders-1"}'] == 7
    assert found['atoll_loop_blocked_total{process="node",node="n1"}'] == 4
    assert found['atoll_process_resident_memory_bytes{process="gateway",node="n1"}'] == 1 << 20
    assert found['atoll_process_resident_memory_bytes{process="control-plane",node=""}'] > 10 << 20
    assert found['atoll_node_facts_age_seconds{node="n1"}'] >= 3.0


async def test_a_node_that_was_blocked_makes_the_platform_degraded(plane: Plane) -> None:
    assert (await plane.sdk.status()).health == "ok"
    await plane.sdk.report(busy_node())
    status = await plane.sdk.status()
    assert status.health == "degraded"
    assert "node n1: the event loop was blocked by x" in status.warnings


async def test_without_the_token_nothing_is_told(plane: Plane) -> None:
    del plane.http.headers["authorization"]
    answer = await plane.ask("GET", "/metrics")
    assert answer.status_code == 401
    assert "atoll_" not in answer.text


async def test_promtool_finds_nothing_to_complain_about(plane: Plane) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    await plane.sdk.report(busy_node())
    text = (await plane.ask("GET", "/metrics")).content
    process = await asyncio.create_subprocess_exec(
        promtool,
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(text)
    assert (process.returncode, said.decode()) == (0, "")
