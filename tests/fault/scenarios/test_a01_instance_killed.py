"""A1: kill -9 of one of three instances under 500 requests a second: nobody outside notices.

Nor does HAProxy go on trying the dead one: the node sees the end at once, and its word reaches HAProxy before a check.
"""

from __future__ import annotations

import asyncio
import time

from atoll.gateway.runtime import Unanswered
from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import answered_by, no_request_failed
from tests.fault.faults.process import kill
from tests.fault.platform import CONVERGED, Fleet
from tests.fault.scenario import Scenario

LATEST = 0.1
"""Seconds after the kill in which HAProxy may still try the dead instance."""


async def test_kill_9_of_one_of_three_instances_fails_no_request(scenario: Scenario, fleet: Fleet) -> None:
    late: list[float] = []
    history = scenario.history("requests")
    async with fleet.load(history, rate=500, connections=16):
        for _ in range(scenario.times(2, 20)):
            pids = await fleet.do(fleet.platform.pids, "web")
            victim = scenario.rng.choice(sorted(pids))
            await asyncio.sleep(scenario.rng.random() / 5)
            killed = time.monotonic()
            kill(pids[victim])
            late.append(await last_try(fleet, victim) - killed)
            await fleet.all_up()
    scenario.measured(
        kills=len(late),
        requests=len(history.calls),
        failed=len(no_request_failed(history.calls)),
        last_try_ms=[round(1000 * each) for each in sorted(late)],
    )
    judge(no_request_failed(history.calls))
    scenario.in_time(max(late), LATEST)
    assert set(answered_by(history.calls)) == {"web-1", "web-2", "web-3"}
    restarts = {name: one.get("restarts", 0) for name, one in fleet.platform.children("web").items()}
    assert sum(restarts.values()) >= len(late), "the fault did not bite"


async def last_try(fleet: Fleet, instance: str) -> float:
    """When HAProxy last tried the dead instance: its own counts, looked at every few milliseconds until it is back.

    Whoever looks may be away for longer than it was out: then it is back because it is at another place.
    """
    began = last = time.monotonic()
    seen, out, first = -1, False, await places(fleet, instance)
    while True:
        assert time.monotonic() - began < CONVERGED, "it is not taken out, or does not come back"
        try:
            tries, weight = await counts(fleet, instance)
            if not out and time.monotonic() - began > 1:
                out = not first & await places(fleet, instance)
        except Unanswered:
            continue
        if out and weight:
            return last
        out = out or not weight
        if tries > seen >= 0:
            last = time.monotonic()
        seen = tries
        await asyncio.sleep(0.004)


async def places(fleet: Fleet, instance: str) -> set[int]:
    """The ports at which HAProxy seeks an instance."""
    return {row.port for row in await fleet.rows() if row.name.rpartition(":")[0] == instance}


async def counts(fleet: Fleet, instance: str) -> tuple[int, int]:
    """Of one instance: sessions, failed connections and retries so far, all together; and its weight now."""
    tries = weight = 0
    for line in (await fleet.runtime.ask("show stat -1 4 -1")).splitlines()[1:]:
        words = line.split(",")
        if words[1].rpartition(":")[0] == instance:
            tries += sum(int(words[at] or 0) for at in (7, 13, 15))
            weight += int(words[18] or 0)
    return tries, weight
