"""G6, I11: the telemetry process stands still, then is killed, under load: no request notices, what is missing is known."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

import httpx2
import pytest

from atoll.gateway.request_log import RequestLog
from atoll.settings import Settings
from atoll.testing.history import Call
from atoll.testing.promises import judge
from tests.contract.gateway.rig import free_ports, instance, service, small_settings, snapshot_of
from tests.contract.gateway.rig import running as haproxy_running
from tests.fault.drivers.driver_requests import driver_requests, no_request_failed
from tests.fault.drivers.upstream import upstreams
from tests.fault.faults.process import paused, running
from tests.fault.scenario import Scenario
from tests.unit.gateway.facts import route

RATE = 600.0
"""Requests a second."""
SLOWER = 1.05
"""p99 may be this many times what it is without the fault; judged in the long form, where it is known well enough."""
WINDOW = 6.0
"""Seconds of load with the fault, then as many without, in turn: a machine's own moods are in both."""
AWAY = 2
"""Requests by which the count may be wrong: threads of HAProxy that write the same number."""
RING = 1 << 16
"""Bytes; small, so that lines are lost within seconds."""


def environ(settings: Settings) -> dict[str, str]:
    http, grpc = free_ports(2)
    return {
        "ATOLL_STATE": str(settings.state),
        "ATOLL_TELEMETRY_HTTP_PORT": str(http),
        "ATOLL_TELEMETRY_GRPC_PORT": str(grpc),
    }


async def counted(settings: Settings) -> dict[str, int]:
    """What the process says of the request log."""
    transport = httpx2.AsyncHTTPTransport(uds=str(settings.telemetry_socket))
    async with httpx2.AsyncClient(transport=transport, base_url="http://telemetry") as client:
        answer = await client.get("/api/v1/telemetry/status")
        answer.raise_for_status()
        found: dict[str, int] = json.loads(answer.content)["parts"]["requests"]
        return found


async def serves(settings: Settings) -> None:
    async with asyncio.timeout(25):
        while True:
            with contextlib.suppress(httpx2.HTTPError, KeyError):
                await counted(settings)
                return
            await asyncio.sleep(0.1)


def p99(calls: Sequence[Call]) -> float:
    took = sorted(call.end - call.start for call in calls)
    return took[int(len(took) * 0.99)]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_telemetry_stands_still_and_dies_and_no_request_notices(scenario: Scenario) -> None:
    pytest.importorskip("chdb", reason='needs pip install "atoll[telemetry]"')
    settings = Settings(state=scenario.state())
    settings.run.mkdir(parents=True, mode=0o700)
    command = [sys.executable, "-m", "atoll.cli.main", "telemetry"]
    told, output = environ(settings), scenario.folder / "telemetry.log"
    phases = {name: scenario.history(name) for name in ("well", "paused", "dead", "long")}
    warm = scenario.history("warm")  # the first requests are slower, whoever reads their lines
    windows, seconds = scenario.times(1, 4), WINDOW if scenario.long else 1.0
    async with upstreams("one") as (one,):
        facts = snapshot_of([service("web")], [instance("web", one.port)], [route("web", "web")])
        knobs = small_settings()
        log = RequestLog(socket=settings.requests_socket, ring_bytes=RING)
        folder = scenario.state("haproxy")
        with haproxy_running(facts, folder, replace(knobs), log):

            async def load(phase: str, seconds: float = seconds) -> None:
                await driver_requests(phases[phase], ("127.0.0.1", knobs.port), rate=RATE, seconds=seconds)

            async with running(command, environ=told, output=output) as process:
                await serves(settings)
                await driver_requests(warm, ("127.0.0.1", knobs.port), rate=RATE, seconds=0.5)
                for _ in range(windows):
                    await load("well")
                    with paused(process.pid):
                        await load("paused")
                if scenario.long:
                    with paused(process.pid):
                        await load("long", 60)
                os.kill(process.pid, signal.SIGKILL)
                await process.wait()
                await load("long" if scenario.long else "dead", 60 if scenario.long else seconds)
            for _ in range(windows - 1):
                async with running(command, environ=told, output=output) as process:
                    await serves(settings)
                    await load("well")
                    os.kill(process.pid, signal.SIGKILL)
                    await process.wait()
                await load("dead")
            async with running(command, environ=told, output=output) as process:
                await serves(settings)
                await asyncio.sleep(1.0)  # HAProxy has connected again
                await load("well", 1)
                calls = [call for history in (warm, *phases.values()) for call in history.calls]
                said = await counted(settings)
                async with asyncio.timeout(25):
                    while abs(said["recorded"] + said["missing"] - len(calls)) > AWAY * windows:
                        await asyncio.sleep(0.2)
                        said = await counted(settings)
                os.kill(process.pid, signal.SIGTERM)
                await process.wait()
    slower = {name: round(p99(phases[name].calls) / p99(phases["well"].calls), 2) for name in ("paused", "dead")}
    scenario.measured(
        requests=len(calls), failed=len(no_request_failed(calls)), recorded=said["recorded"], missing=said["missing"],
        dropped=said["dropped"], p99_ms=round(1000 * p99(phases["well"].calls), 2), p99_times=slower,
    )  # fmt: skip
    judge(no_request_failed(calls))
    assert said["missing"] > 0, "the fault did not bite"
    assert said["recorded"] > 0
    if scenario.long:
        assert max(slower.values()) <= SLOWER
