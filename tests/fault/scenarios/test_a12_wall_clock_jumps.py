"""A12: the wall clock of the control plane jumps by an hour, to 1970 and to 2106: leases do not notice."""

from __future__ import annotations

import asyncio
import time

import pytest

from atoll.testing.promises import judge, revisions_grow
from tests.fault.control_plane import control_plane
from tests.fault.drivers.driver_register import Registrant, driver_register
from tests.fault.faults import wall_clock
from tests.fault.scenario import Scenario

JUMPS = {"an hour on": 3600.0, "an hour back": -3600.0, "1970": -time.time() + 86_400, "2106": 80 * 365 * 86_400.0}


@pytest.mark.slow
async def test_leases_and_revisions_do_not_notice_a_wall_clock_that_jumps(scenario: Scenario) -> None:
    history, file, stop = scenario.history(), scenario.folder / "clock", asyncio.Event()
    registrants = [Registrant("sim", f"sim-{number}", 22_200 + number, ttl=2.0) for number in range(4)]
    async with control_plane(scenario.state(), environ=wall_clock.set_off(file)) as server:
        async with asyncio.TaskGroup() as group:
            group.create_task(
                driver_register(
                    history, server.place, server.token, registrants, rng=scenario.rng, seconds=300, stop=stop
                )
            )
            for seconds in JUMPS.values():
                wall_clock.jump(file, seconds)
                await asyncio.sleep(2.5)
                assert await server.instances("sim") == {f"sim-{number}": "passing" for number in range(4)}
            stop.set()
        assert (await server.status())["expired"] == 0
    assert {call.error for call in history.calls} == {None}
    judge(revisions_grow(history.calls))
