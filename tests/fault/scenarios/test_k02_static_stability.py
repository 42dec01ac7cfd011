"""K2, F2, I5, D4, D5: what serves goes on without what commands: control plane, node and HAProxy die under load."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from atoll.testing.history import Outcome
from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.faults.process import kill, paused
from tests.fault.platforms import all_ready, comes, load, platform
from tests.fault.scenario import Scenario
from tests.system.platform.stage import Platform

pytestmark = pytest.mark.slow


def pids_of(made: Platform, *words: str) -> list[int]:
    """The processes of a platform whose command line has all these words."""
    return [process.pid for process in made.processes() if all(word in process.cmdline() for word in words)]


def haproxies(made: Platform) -> dict[str, list[int]]:
    """HAProxy's master, as the node reports it, and its workers."""
    master = psutil.Process(made.gateway()["pid"])
    return {"master": [master.pid], "workers": [worker.pid for worker in master.children()]}


async def test_the_control_plane_is_killed_under_load_and_no_request_fails(scenario: Scenario) -> None:
    async with platform() as made:
        async with load(scenario, made) as history:
            for _ in range(scenario.times(2, 10)):
                (server,) = pids_of(made, "server")
                kill(server)
                await comes(lambda server=server: pids_of(made, "server") not in ([], [server]), "another one")  # type: ignore[misc]
                await comes(all_ready(made), "convergence")
        scenario.measured(requests=len(history.calls))
    judge(no_request_failed(history.calls))


async def test_the_control_plane_is_paused_under_load_and_no_request_fails(scenario: Scenario) -> None:
    async with platform() as made:
        async with load(scenario, made) as history:
            (server,) = pids_of(made, "server")
            with paused(server):
                await asyncio.sleep(scenario.times(6, 50))
            await comes(all_ready(made), "convergence")
            status = await asyncio.to_thread(made.done, "GET", "/status")
        scenario.measured(requests=len(history.calls), expired=status["expired"])
    assert status["expired"] == 0
    judge(no_request_failed(history.calls))


async def test_the_node_is_killed_under_load_and_the_next_one_adopts_what_runs(scenario: Scenario) -> None:
    async with platform() as made:
        async with load(scenario, made) as history:
            for _ in range(scenario.times(1, 5)):
                before = await asyncio.to_thread(made.pids, "web")
                proxies = await asyncio.to_thread(haproxies, made)
                kill(made.node_pid)
                await asyncio.sleep(1.0)
                await asyncio.to_thread(made.up)
                await comes(all_ready(made), "convergence")
                assert await asyncio.to_thread(made.pids, "web") == before, "services were started again"
                assert await asyncio.to_thread(haproxies, made) == proxies, "HAProxy was started again"
        scenario.measured(requests=len(history.calls))
    judge(no_request_failed(history.calls))


@pytest.mark.parametrize("part", ["master", "workers"])
async def test_haproxy_is_killed_and_serves_again(scenario: Scenario, part: str) -> None:
    async with platform() as made:
        async with load(scenario, made) as history:
            seen, outages = 0, list[float]()
            for _ in range(scenario.times(1, 5)):
                found = await asyncio.to_thread(haproxies, made)
                for pid in found[part]:
                    os.kill(pid, signal.SIGKILL)
                await comes(lambda found=found: other(haproxies(made), found, part), "another HAProxy")  # type: ignore[misc]
                await comes(lambda: made.get("/").status == 200, "an answer")
                await comes(all_ready(made), "convergence")
                now = await asyncio.to_thread(haproxies, made)
                assert len(now["master"]) == 1, "two masters"
                failed = [call for call in history.calls[seen:] if call.outcome is not Outcome.OK]
                seen = len(history.calls)
                outages.append(max(call.end for call in failed) - min(call.start for call in failed) if failed else 0.0)
        scenario.measured(requests=len(history.calls), longest_outage_ms=round(1000 * max(outages)))
        assert history.calls[-1].outcome is Outcome.OK


def other(now: dict[str, list[int]], before: dict[str, list[int]], part: str) -> bool:
    return bool(now[part]) and not set(now[part]) & set(before[part])


async def test_everything_is_killed_at_once_and_up_brings_it_back_alone(scenario: Scenario) -> None:
    async with platform() as made:
        for _ in range(scenario.times(1, 20)):
            revision = (await asyncio.to_thread(made.done, "GET", "/status"))["revision"]
            proxies = await asyncio.to_thread(haproxies, made)
            for process in [
                *await asyncio.to_thread(made.processes),
                *(psutil.Process(pid) for pid in [*proxies["master"], *proxies["workers"]]),
            ]:
                _kill(process)
            await asyncio.to_thread(made.up)
            await comes(all_ready(made), "convergence")
            await comes(lambda: made.get("/").status == 200, "an answer")
            after = (await asyncio.to_thread(made.done, "GET", "/status"))["revision"]
            assert after >= revision


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
