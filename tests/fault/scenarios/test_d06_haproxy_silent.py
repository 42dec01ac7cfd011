"""D6: HAProxy stops answering its runtime socket, or somebody else answers there: the node never hangs, and converges."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

import pytest

from atoll.testing.haproxy import FakeHaproxy, Mood
from atoll.testing.history import Outcome
from tests.fault.drivers.upstream import upstreams
from tests.fault.platform import Fleet, comes, signal_all
from tests.fault.scenario import Scenario

STUCK = 6.0
"""Seconds from a change that cannot be told to HAProxy until it serves: three silent seconds, a new HAProxy, a margin."""
RATE = 50
"""Requests a second."""
LIES = [Mood.HANG, Mood.GARBAGE, Mood.HALF, Mood.CLOSE, Mood.ENDLESS]


@pytest.mark.slow
async def test_a_stopped_haproxy_is_replaced(scenario: Scenario, fleet: Fleet) -> None:
    parts = fleet.parts()
    async with upstreams("new") as (new,):
        signal_all(parts.workers, signal.SIGSTOP)
        await fleet.register("fresh", "new", new.port)
        await fleet.route("fresh", "/fresh", "fresh")
        took = await comes(lambda: reaches(fleet, "/fresh"), "it serves")
        await fleet.converged()
        await fleet.forget("fresh")
    scenario.measured(stuck_s=round(took, 1))
    assert took <= STUCK
    assert not parts.workers & fleet.parts().workers


@pytest.mark.slow
@pytest.mark.parametrize("mood", LIES)
async def test_a_runtime_socket_that_lies_is_not_believed(scenario: Scenario, fleet: Fleet, mood: Mood) -> None:
    history, path = scenario.history("requests"), fleet.runtime.path
    errors = fleet.platform.gateway()["errors"]
    async with upstreams("new") as (new,), fleet.load(history, rate=RATE):
        aside = path.with_name("aside.sock")
        os.rename(path, aside)  # noqa: PTH104
        async with FakeHaproxy(path) as liar:
            liar.mood = mood
            await fleet.register("fresh", "new", new.port)
            await fleet.route("fresh", "/fresh", "fresh")
            began = time.monotonic()
            await comes(lambda: bool(liar.connections), "somebody asks the liar")
            with contextlib.suppress(AssertionError):  # it may as well go on asking, politely, until the liar is gone
                await comes(lambda: reaches(fleet, "/fresh"), "it serves", within=8)
        took = time.monotonic() - began
        if aside.is_socket() and not path.is_socket():
            os.rename(aside, path)  # noqa: PTH104  the liar is gone; HAProxy was not replaced
        await comes(lambda: reaches(fleet, "/fresh"), "it serves")
        await fleet.converged()
        assert fleet.platform.gateway()["errors"] > errors, "the lie was believed"
        await fleet.forget("fresh")
    failed = [call for call in history.calls if call.outcome is not Outcome.OK]
    scenario.measured(lied_to=liar.connections, served_after_s=round(took, 1), failed=len(failed))
    assert not failed, f"HAProxy served all the time: {[(call.outcome, call.answer) for call in failed[:5]]}"


async def reaches(fleet: Fleet, path: str) -> bool:
    try:
        answer = await asyncio.to_thread(lambda: fleet.platform.get(path, timeout=1.0))
    except OSError:
        return False
    return answer.headers.get("x-instance") == "new"
