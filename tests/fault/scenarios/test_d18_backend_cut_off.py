"""D18: the cable to one instance is pulled: no RST, no FIN. Its check takes it out; while it flaps, the registry is calm."""

from __future__ import annotations

import asyncio
import sys
import time

from tests.fault.drivers.driver_requests import answered_by, no_request_failed
from tests.fault.faults.network import island
from tests.fault.faults.process import running
from tests.fault.platform import PROGRAM, Fleet
from tests.fault.scenario import Scenario
from tests.system.platform.stage import free_port

DOWN = 4.0
"""Seconds: up to an interval until the next check, and two checks that are silent for a second each."""


async def test_an_instance_behind_a_pulled_cable_is_taken_out_and_flapping_is_damped(
    scenario: Scenario, fleet: Fleet
) -> None:
    history, flaps = scenario.history("requests"), scenario.times(1, 6)
    with island() as land:
        ports = {name: free_port() for name in ("far-1", "near-1")}
        places = {"far-1": (land.there, land.inside()), "near-1": ("127.0.0.1", [])}
        async with (
            running(
                [*places["far-1"][1], sys.executable, str(PROGRAM)],
                environ={"HOST": land.there, "PORT": str(ports["far-1"]), "ATOLL_INSTANCE": "far-1"},
                output=scenario.folder / "far.out",
            ),
            running(
                [sys.executable, str(PROGRAM)],
                environ={"PORT": str(ports["near-1"]), "ATOLL_INSTANCE": "near-1"},
                output=scenario.folder / "near.out",
            ),
        ):
            for name, (host, _) in places.items():
                await fleet.register("mixed", name, ports[name], host=host)
            await fleet.route("mixed", "/mixed", "mixed")
            await up(fleet, True)
            await fleet.converged()
            before = await transitions(fleet)
            async with fleet.load(history, "/mixed", rate=50):
                down = []
                began = time.monotonic()
                for _ in range(flaps):
                    land.cut()
                    down.append(await up(fleet, False))
                    land.heal()
                    await up(fleet, True)
                took = time.monotonic() - began
            told = await transitions(fleet) - before
            await fleet.forget("mixed")
    lost = no_request_failed(history.calls)
    scenario.measured(
        cuts=flaps,
        down_s=[round(each, 1) for each in down],
        seconds=round(took, 1),
        transitions_told=told,
        requests=len(history.calls),
        failed=len(lost),
    )
    scenario.in_time(max(down), DOWN)
    assert answered_by(history.calls)["far-1"] > 0
    assert told <= 3 + took / 10, "the registry flaps with it"
    assert len(lost) <= 8 * flaps, "more than one request of each connection was lost"


async def up(fleet: Fleet, wanted: bool) -> float:
    """Seconds until HAProxy believes far-1 to be up, or down."""
    began = time.monotonic()
    while True:
        found = [row.up for row in await fleet.rows() if row.name.startswith("far-1:")]
        if found == [wanted]:
            return time.monotonic() - began
        assert time.monotonic() - began < 20, f"far-1 is {found}"
        await asyncio.sleep(0.02)


async def transitions(fleet: Fleet) -> int:
    """Changes of state of the service's instances that the registry wrote down."""
    history = await fleet.do(fleet.platform.done, "GET", "/services/mixed/history")
    return sum(record.get("instance") == "far-1" for record in history["records"])
