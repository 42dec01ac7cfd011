"""A2: an instance is paused. HAProxy's check takes it out; when it wakes it is back at its place, once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from atoll.testing.history import Outcome
from tests.fault.drivers.driver_register import Registrant
from tests.fault.drivers.http import Client
from tests.fault.faults.process import paused
from tests.fault.platform import CONVERGED, Fleet, own_fleet
from tests.fault.scenario import Scenario

OUT = 4.0
"""Seconds: three checks that fail end within three intervals of one second; the rest is for a busy machine."""
BACK = 2.0
"""Seconds: one check interval, and a look."""


async def test_a_paused_instance_leaves_the_rotation_and_comes_back_once(scenario: Scenario) -> None:
    with own_fleet() as fleet:  # the registry damps what flaps, and others kill instances of the shared one
        await fleet.converged()
        await pause(scenario, fleet)


async def pause(scenario: Scenario, fleet: Fleet) -> None:
    history = scenario.history("requests")
    children = await fleet.do(fleet.platform.pids, "web")
    victim = scenario.rng.choice(sorted(children))
    async with fleet.load(history):
        with paused(children[victim]):
            out = await seconds_until(fleet, victim, up=False)
            noticed = time.monotonic()
            await asyncio.sleep(scenario.seconds(0.5, 30))
            calm = [call for call in history.calls if call.start > noticed]
        back = await seconds_until(fleet, victim, up=True)
    lost = [call for call in history.calls if call.outcome is not Outcome.OK]
    scenario.measured(
        out_ms=round(1000 * out),
        back_ms=round(1000 * back),
        requests=len(history.calls),
        failed=len(lost),
        slowest_s=round(max(call.end - call.start for call in history.calls), 1),
    )
    scenario.in_time(out, OUT)
    scenario.in_time(back, BACK)
    assert len(lost) <= 8, "more than one request of each connection was lost"
    assert [call for call in calm if call.outcome is not Outcome.OK] == []
    assert all(call.answer["instance"] != victim for call in calm if call.end - call.start < 1)
    assert await fleet.do(fleet.platform.pids, "web") == children, "somebody was started again"


async def seconds_until(fleet: Fleet, instance: str, *, up: bool) -> float:
    """How long until HAProxy believes an instance to be up, or not."""
    began = time.monotonic()
    while True:
        found = [row.up for row in await fleet.rows() if row.name.rpartition(":")[0] == instance]
        if found and all(each is up for each in found):
            return time.monotonic() - began
        assert time.monotonic() - began < CONVERGED
        await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_one_that_wakes_after_its_lease_has_ended_is_told_so_and_registers_anew(
    scenario: Scenario, fleet: Fleet
) -> None:
    history = scenario.history("registrations")
    sleeper, awake = (Registrant("sim", name, 9 + at, ttl=3.0) for at, name in enumerate(("sim-1", "sim-2")))

    async def listed() -> list[Any]:
        answer = await fleet.do(fleet.platform.done, "GET", "/services/sim/instances")
        return sorted(one["id"] for one in answer["instances"])

    def code() -> str | None:
        return history.calls[-1].error

    with Client(fleet.settings.socket, headers={"Authorization": f"Bearer {fleet.platform.token}"}) as client:
        try:
            await sleeper.renew(client, history)
            await awake.renew(client, history)
            first, began = sleeper.lease, time.monotonic()
            while "sim-1" in await listed():
                await awake.renew(client, history)
                await asyncio.sleep(0.3)
                assert time.monotonic() - began < CONVERGED, "it never expired"
            await sleeper.renew(client, history)
            assert code() == "lease-expired"
            await sleeper.renew(client, history)
            assert (code(), await listed()) == (None, ["sim-1", "sim-2"])
            assert sleeper.lease != first
        finally:
            await sleeper.leave(client, history)
            await awake.leave(client, history)
            await fleet.forget("sim")
