"""A3, A4, A6, A7, A10: the control plane is paused or dead for several TTLs: nobody expires; who is really gone, goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from atoll.testing.history import History
from atoll.testing.promises import Breach, judge, lease_floor, revisions_grow
from atoll.testing.watched import Heard, sessions_of
from tests.fault.checks.schedule import eventually, until
from tests.fault.control_plane import ControlPlane, control_plane
from tests.fault.drivers.driver_api_watch import deletions, driver_api_watch
from tests.fault.drivers.driver_register import Registrant, driver_register
from tests.fault.faults.process import paused
from tests.fault.scenario import Scenario

TTL = 2.0
"""Seconds; the shortest that the registry takes."""


def population(ttl: float, first_port: int = 20_000) -> list[Registrant]:
    """Three services: of three instances, of two, of one."""
    sizes = {"three": 3, "two": 2, "one": 1}
    names = [(service, f"{service}-{number}") for service, size in sizes.items() for number in range(size)]
    return [Registrant(*name, first_port + index, ttl=ttl) for index, name in enumerate(names)]


@asynccontextmanager
async def registered(
    scenario: Scenario, server: ControlPlane, history: History, stop: asyncio.Event, ttl: float = TTL
) -> AsyncIterator[None]:
    """Everybody is registered and renewing, and a watcher has heard of them and listens, until the end of the block."""
    heard: list[Heard] = []

    async def present() -> list[Breach]:
        status = await server.status()
        return [] if sum(status["instances"].values()) == 6 else [Breach("registered", str(status["instances"]))]

    async with asyncio.TaskGroup() as group:
        group.create_task(
            driver_register(
                history, server.place, server.token, population(ttl), rng=scenario.rng, seconds=300, stop=stop
            )
        )
        group.create_task(
            driver_api_watch(
                history, server.place, server.token, "watch", prefix="instances/", start=1, stop=stop, tell=heard.append
            )
        )
        try:
            await eventually(present)
            await until(lambda: len({event.key for one in heard for event in one.events}) >= 6, "the watcher heard")
            yield
        finally:
            stop.set()


async def all_passing(server: ControlPlane) -> list[Breach]:
    found = {**await server.instances("three"), **await server.instances("two"), **await server.instances("one")}
    return [Breach("I4 lease floor", f"{name} is {state}") for name, state in found.items() if state != "passing"] + (
        [] if len(found) == 6 else [Breach("I4 lease floor", f"only {sorted(found)} are there")]
    )


def assert_nobody_went(history: History) -> None:
    heard = {event.key for one in sessions_of(history.calls) for message in one.heard for event in message.events}
    assert len(heard) >= 6, "the watcher did not hear of everybody: it proves nothing"
    assert deletions(history.calls) == []


async def test_a_control_plane_that_was_paused_beyond_every_ttl_expires_nobody(scenario: Scenario) -> None:
    history, stop = scenario.history(), asyncio.Event()
    async with control_plane(scenario.state()) as server:
        async with registered(scenario, server, history, stop):
            for _ in range(scenario.times(1, 3)):
                with paused(server.pid):
                    await asyncio.sleep(scenario.seconds(1.25, 3) * TTL)
                await eventually(partial(all_passing, server))
            await asyncio.sleep(TTL)  # what would lapse after the pause, lapses now
            await eventually(partial(all_passing, server))
            status = await server.status()
        assert status["expired"] == 0, status
    scenario.measured(expired=status["expired"], stalled=round(status["stalled"], 1), renewals=len(history.calls))
    assert status["stalled"] > TTL, "the pause was not felt: nothing is proved"
    assert_nobody_went(history)
    judge(revisions_grow(history.calls))


@pytest.mark.slow
async def test_a_control_plane_that_was_dead_for_two_ttls_comes_back_with_everybody(scenario: Scenario) -> None:
    history, stop = scenario.history(), asyncio.Event()
    for _ in range(scenario.times(1, 3)):
        async with control_plane(scenario.state()) as server, registered(scenario, server, history, stop):
            server.kill()
            await server.process.wait()
            await asyncio.sleep(2 * TTL)
            async with control_plane(scenario.state()) as again:
                assert await all_passing(again) == []  # at once, before anybody can have renewed all
                await asyncio.sleep(1.5 * TTL)
                await eventually(partial(all_passing, again))
                assert (await again.status())["expired"] == 0
        stop = asyncio.Event()
    assert_nobody_went(history)
    judge(revisions_grow(history.calls))


async def test_one_of_three_that_falls_silent_goes_after_its_ttl_and_a_last_one_stays(scenario: Scenario) -> None:
    history, stop = scenario.history(), asyncio.Event()
    silent_three, silent_one = (
        Registrant("three", "silent", 20_010, ttl=TTL),
        Registrant("alone", "silent", 20_011, ttl=TTL),
    )
    # who shall not expire renews in good time, whatever the machine does
    async with control_plane(scenario.state()) as server, registered(scenario, server, history, stop, ttl=60):
        with server.client() as client:
            await silent_one.renew(client, history)  # so that its time is up as well once the other is gone
            await silent_three.renew(client, history)

        async def gone() -> list[Breach]:
            there = await server.instances("three")
            return [Breach("expired", f"silent is {there['silent']}")] if "silent" in there else []

        await eventually(gone, within=10 * TTL)
        assert list(await server.instances("alone")) == ["silent"]
        assert await all_passing(server) == []
    found = deletions(history.calls)
    assert [key for key, _ in found] == ["instances/three/silent"]
    judge(lease_floor(history.calls, found))


async def test_an_instance_that_restarts_within_its_ttl_keeps_its_place(scenario: Scenario) -> None:
    history, stop = scenario.history(), asyncio.Event()
    async with control_plane(scenario.state()) as server, registered(scenario, server, history, stop, ttl=60):
        for restart in range(scenario.times(3, 10)):
            with server.client() as client:
                again = Registrant("three", "restarting", 20_020 + restart, ttl=60)
                await again.renew(client, history)  # without a lease: a new process, the same id, another port
                await asyncio.sleep(scenario.seconds(0.1, 0.3))
    assert_nobody_went(history)
