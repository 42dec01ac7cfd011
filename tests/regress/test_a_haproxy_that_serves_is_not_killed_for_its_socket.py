"""D6: somebody took the runtime socket away; a HAProxy that served was killed for it, and every request under way with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest

from atoll.gateway.process import members, recorded
from atoll.testing.haproxy import FakeHaproxy, Mood
from tests.contract.gateway_edge.world import HELD, IMPATIENT, Client, World, a_world, runs


async def _facts(world: World) -> None:
    one = await world.upstream("one")
    world.service("orders")
    world.instance("orders", "one", one.port)
    world.route("orders", "/orders", "orders")
    await world.push()


@contextlib.asynccontextmanager
async def _routed() -> AsyncIterator[World]:
    async with a_world(IMPATIENT) as world, world.driver.running():
        await _facts(world)
        yield world
        await world.driver.stop(0)


async def _asks(world: World, stop: asyncio.Event, said: Counter[str], *, kept: bool) -> None:
    client = Client(world.settings.gateway.port)
    while not stop.is_set():
        try:
            async with asyncio.timeout(15):
                said[str((await client.get("/orders/x")).status)] += 1
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            said[type(error).__name__] += 1
            client.close()
        if not kept:
            client.close()
        await asyncio.sleep(0.005)
    client.close()


CALLERS = 3


@dataclass
class Said:
    """How callers were answered: those that keep their connection, and those that open one for each request."""

    kept: Counter[str] = field(default_factory=Counter)
    new: Counter[str] = field(default_factory=Counter)

    def judge(self) -> None:
        """No request fails; only a connection that nobody had accepted yet ends with the socket that it waits at."""
        assert set(self.kept) == {"200"}, self
        assert set(self.new) <= {"200", "ConnectionResetError"}, self
        assert self.new["200"] > 0
        assert self.new["ConnectionResetError"] <= CALLERS, self


@contextlib.asynccontextmanager
async def _load(world: World) -> AsyncIterator[Said]:
    """Callers of both kinds, and how they were answered."""
    stop, said = asyncio.Event(), Said()
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(_asks(world, stop, said.kept, kept=True))
            group.create_task(_asks(world, stop, said.new, kept=False))
        yield said
        stop.set()


@contextlib.contextmanager
def _without_a_socket(world: World) -> Iterator[None]:
    """Somebody has taken it away."""
    aside = world.driver.files.root / "aside.sock"
    world.driver.files.runtime.rename(aside)
    yield
    if not world.driver.files.runtime.is_socket():
        aside.rename(world.driver.files.runtime)


async def _changed(world: World) -> None:
    """What is wanted meanwhile is so before long."""
    two = await world.upstream("two")
    key = world.instance("orders", "two", two.port)
    world.offer()
    async with asyncio.timeout(20):
        await world.driver.routed(*key)


def _everybody(world: World) -> set[int]:
    master = recorded(world.driver.files.pid)
    return {process.pid for process in members(master)} if master else set()


async def test_its_successor_takes_over_and_no_request_fails() -> None:
    async with _routed() as world:
        before = world.master()
        slow = asyncio.create_task(world.get("/orders/held"))
        await world.until(lambda: world.upstreams[0].requests == 1)
        async with _load(world) as said:
            await asyncio.sleep(0.2)
            with _without_a_socket(world):
                async with FakeHaproxy(world.driver.files.runtime) as liar:
                    liar.mood = Mood.GARBAGE
                    await _changed(world)
                    assert liar.connections
            await asyncio.sleep(0.3)
        said.judge()
        world.upstreams[0].released.set()
        assert (await slow).body == HELD
        report = world.driver.report()
        assert report.pid != before
        assert (report.restarts, report.reload_kinds) == (0, {"silent-socket": 1})
        await world.until(lambda: not runs(before))


async def test_connections_to_the_socket_that_somebody_leaves_open_disturb_nobody() -> None:
    async with _routed() as world:
        before = world.master()
        with contextlib.ExitStack() as stack:
            for _ in range(60):  # HAProxy's own default is ten, and the eleventh waited
                stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(world.driver.files.runtime))
            await _changed(world)
        report = world.driver.report()
        assert (report.pid, report.errors) == (before, 0)


async def test_a_node_that_comes_to_such_a_haproxy_lets_it_finish_too() -> None:
    async with a_world(IMPATIENT) as world:
        async with world.driver.running():
            await _facts(world)
            before = world.master()
        slow = asyncio.create_task(world.get("/orders/held"))
        await world.until(lambda: world.upstreams[0].requests == 1)
        async with _load(world) as said:
            await asyncio.sleep(0.2)
            with _without_a_socket(world):
                world.driver = world.again()
                async with world.driver.running():
                    await world.push()
                    assert world.master() != before
                    await asyncio.sleep(0.2)
                    said.judge()
                    world.upstreams[0].released.set()
                    assert (await slow).body == HELD
                    await world.driver.stop(0)


async def test_its_successor_knows_who_was_down() -> None:
    async with _routed() as world:
        two = await world.upstream("two")
        two.healthy = False
        world.instance("orders", "two", two.port)
        await world.push()
        await world.shown(lambda rows: [row.up for row in rows.values()] == [True, False])
        with _without_a_socket(world):
            await world.until(lambda: world.driver.report().reloads == 1)
            assert sorted(row.up for row in (await world.rows()).values()) == [False, True]


async def test_one_whose_successor_does_not_come_up_serves_on(caplog: pytest.LogCaptureFixture) -> None:
    async with _routed() as world:
        before, render = world.master(), world.driver._writer._render
        world.driver._writer._render = lambda _config: {"haproxy.cfg": b"sideways\n"}
        async with _load(world) as said:
            with _without_a_socket(world):
                await world.until(lambda: "it serves on" in caplog.text)
                assert world.master() == before
            world.driver._writer._render = render
            await _changed(world)
        said.judge()
        assert (world.master(), world.driver.restarts) == (before, 0)


async def test_its_successor_is_watched_and_stopping_ends_both() -> None:
    async with _routed() as world:
        first = _everybody(world)
        slow = asyncio.create_task(world.get("/orders/held"))
        await world.until(lambda: world.upstreams[0].requests == 1)
        with _without_a_socket(world):
            await world.until(lambda: world.master() not in first)
        second = world.master()
        assert any(runs(pid) for pid in first), "it finishes what it has"
        os.kill(await world.worker(), signal.SIGKILL)
        await world.until(lambda: world.driver.report().pid not in {None, second})
        third = _everybody(world)
        await world.driver.stop(0)
        assert not any(runs(pid) for pid in first | third)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await slow
