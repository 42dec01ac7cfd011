"""A9: an instance registers and deregisters twenty times a second. Others do not feel it, and HAProxy is not reloaded."""

from __future__ import annotations

import asyncio
import time

from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.drivers.pace import paced
from tests.fault.drivers.upstream import upstreams
from tests.fault.platform import Fleet, percentile
from tests.fault.scenario import Scenario

RATE = 20.0
UNFELT = 0.1
"""Seconds: what a request may take on a busy machine."""


async def test_a_flapping_instance_costs_others_nothing_and_reloads_nothing(scenario: Scenario, fleet: Fleet) -> None:
    calm, storm = scenario.history("calm"), scenario.history("storm")
    await fleet.converged()
    before = fleet.platform.gateway()
    seconds = scenario.times(1, 20)
    async with upstreams("flap-1") as (flap,):
        async with fleet.load(calm):
            await asyncio.sleep(seconds / 2)
        began, turns = time.monotonic(), 0
        async with fleet.load(storm):
            async for _ in paced(RATE * 2, calls=round(RATE * 2 * seconds), seconds=2 * seconds):
                if turns % 2:
                    path = "/services/flap/instances/flap-1"
                    await fleet.do(fleet.platform.done, "DELETE", path)
                else:
                    await fleet.register("flap", "flap-1", flap.port, ttl=15)
                turns += 1
            took = time.monotonic() - began
        await fleet.converged()
        after = fleet.platform.gateway()
        await fleet.forget("flap")
    ratio = percentile(storm.calls, 0.99) / percentile(calm.calls, 0.99)
    applied = after["generation"] - before["generation"]
    scenario.measured(
        flaps_per_s=round(turns / 2 / took, 1),
        generations=applied,
        reloads=after["reloads"] - before["reloads"],
        p99_ratio=round(ratio, 2),
        p99_ms=round(1000 * percentile(storm.calls, 0.99), 1),
        failed=len(no_request_failed(storm.calls)),
    )
    judge(no_request_failed(calm.calls), no_request_failed(storm.calls))
    assert after["reloads"] == before["reloads"]
    assert 0 < applied <= took / fleet.settings.gateway.debounce + 2, "more than one apply in a debounce"
    # where a quiet p99 is below a millisecond, the machine's own hiccups make any ratio
    scenario.in_time(min(ratio / 4, percentile(storm.calls, 0.99) / UNFELT), 1.0, "of what others may feel")
