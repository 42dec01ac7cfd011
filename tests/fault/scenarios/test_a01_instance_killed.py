"""A1: kill -9 of one of three instances under load: nobody who calls the gateway notices."""

from __future__ import annotations

import asyncio

from atoll.kit.clock import SystemClock
from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import answered_by, no_request_failed
from tests.fault.faults.process import kill
from tests.fault.platforms import INSTANCES, all_ready, comes, load, platform
from tests.fault.scenario import Scenario


async def test_kill_9_of_one_of_three_instances_fails_no_request(scenario: Scenario) -> None:
    clock, late = SystemClock(), [0.0]
    kills = scenario.times(2, 20)
    async with platform() as made:
        async with load(scenario, made, rate=scenario.times(100, 400)) as history:
            for _ in range(kills):
                pids = await asyncio.to_thread(made.pids, "web")
                name = scenario.rng.choice(sorted(pids))
                before, moment = len(history.calls), clock.now()
                kill(pids[name])
                await comes(lambda name=name, pid=pids[name]: made.pids("web").get(name, pid) != pid, "a new one")  # type: ignore[misc]
                await comes(all_ready(made), "three instances again")
                late += [
                    call.start - moment
                    for call in history.calls[before:]
                    if call.start > moment and call.error is not None
                ]
        scenario.measured(
            kills=kills,
            requests=len(history.calls),
            failed=len(no_request_failed(history.calls)),
            last_failure_ms=round(1000 * max(late)),
        )
        assert len(answered_by(history.calls)) >= INSTANCES
    judge(no_request_failed(history.calls))
