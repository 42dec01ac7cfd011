"""D4, D5, D17: HAProxy's worker or master is killed, also while the control plane is away: back within a second, one of it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from atoll.testing.history import Outcome
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.faults.process import kill, paused
from tests.fault.platform import Fleet, Parts, comes, outage
from tests.fault.scenario import Scenario

AWAY = 1.0
"""Seconds without an answer at most."""


@pytest.mark.parametrize("victim", ["worker", "master", pytest.param("both", marks=pytest.mark.slow)])
async def test_a_killed_haproxy_is_back_within_a_second_with_the_same_configuration(
    scenario: Scenario, fleet: Fleet, victim: str
) -> None:
    await deaths(scenario, fleet, victim, alone=False)


async def test_haproxy_comes_back_without_a_control_plane(scenario: Scenario, fleet: Fleet) -> None:
    await deaths(scenario, fleet, "worker", alone=True)


async def deaths(scenario: Scenario, fleet: Fleet, victim: str, *, alone: bool) -> None:
    away: list[float] = []
    requests = 0
    for number in range(scenario.times(1, 6)):
        history = scenario.history(f"requests-{number}")
        parts, served = fleet.parts(), await servers(fleet)
        assert parts.control_plane is not None
        with paused(parts.control_plane) if alone else contextlib.nullcontext():
            async with fleet.load(history, rate=200):
                for pid in victims(parts, victim):
                    kill(pid)
                await comes(lambda: len(no_request_failed(history.calls)) > 0, "the fault bites")  # noqa: B023
                await fleet.serves()
                await asyncio.sleep(scenario.seconds(0.2, 0.5))
            assert await told(fleet) == served, "it runs something else than before"
        await comes(lambda: len(fleet.parts().workers) == 1, "only one of them serves")
        now = fleet.parts()
        assert now.master not in (None, parts.master)
        assert not (parts.workers & now.workers), "an orphan serves on"
        assert history.calls[-1].outcome is Outcome.OK
        away.append(outage(history.calls))
        requests += len(history.calls)
        await fleet.converged()
    scenario.measured(deaths=len(away), requests=requests, outage_ms=[round(1000 * each) for each in sorted(away)])
    scenario.in_time(max(away), AWAY)


def victims(parts: Parts, victim: str) -> list[int]:
    assert parts.master is not None
    return {"worker": [*parts.workers], "master": [parts.master], "both": [parts.master, *parts.workers]}[victim]


async def told(fleet: Fleet) -> set[tuple[str, str, int, int]]:
    """The same, once HAProxy answers: one that has just begun may serve before it tells."""
    found: set[tuple[str, str, int, int]] = set()

    async def answers() -> bool:
        found.update(await servers(fleet))
        return True

    await comes(answers, "HAProxy tells what it runs")
    return found


async def servers(fleet: Fleet) -> set[tuple[str, str, int, int]]:
    """What HAProxy sends requests to."""
    return {(row.name.rpartition(":")[0], row.host, row.port, row.weight) for row in await fleet.rows()}
