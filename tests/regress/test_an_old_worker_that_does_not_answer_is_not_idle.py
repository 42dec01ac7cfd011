"""Who asked whether an instance is idle took no answer for no requests: it was stopped in the middle of one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

from atoll.gateway.rhythm import Rhythm
from atoll.model.names import InstanceId, ServiceName
from tests.contract.gateway_edge.front import in_front
from tests.contract.gateway_edge.world import HELD, IMPATIENT, QUICK, World, a_world

Key = tuple[ServiceName, InstanceId]


@contextlib.asynccontextmanager
async def _busy(rhythm: Rhythm) -> AsyncIterator[tuple[World, Key]]:
    """A world whose only instance serves a request, and is on its way out of the gateway."""
    async with a_world(rhythm) as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders")
        key = world.instance("orders", "one", one.port)
        world.route("orders", "/orders", "orders")
        await world.push()

        slow = asyncio.create_task(world.get("/orders/held"))
        await world.until(lambda: one.requests == 1)
        yield world, key
        assert (await slow).body == HELD
        await world.driver.stop(0)


async def _leaves(world: World) -> None:
    world.gone("orders", "one")
    await world.push()


async def _done(world: World, key: Key) -> None:
    world.upstreams[0].released.set()
    assert await world.driver.idle(*key, within=10)


async def test_one_that_is_slow_may_have_requests() -> None:
    # a worker is asked in vain for as long as two answers may take
    async with _busy(replace(QUICK, answer=0.3, silence=3600.0)) as (world, key):
        old = await world.worker()
        world.service("orders", sticky=True)
        await world.push()
        assert await world.worker() != old
        await _leaves(world)
        os.kill(old, signal.SIGSTOP)
        assert not await world.driver.idle(*key, within=0.1)
        os.kill(old, signal.SIGCONT)
        await _done(world, key)


def _nonsense(line: str) -> str | None:
    return "what?\n\n" if line.startswith("show stat ") and line.split()[2] != "-1" else None


async def test_nonsense_is_no_word_of_idleness() -> None:
    async with _busy(QUICK) as (world, key):
        await _leaves(world)
        async with in_front(world.driver.files.runtime, _nonsense):
            assert not await world.driver.idle(*key, within=0.3)
        await _done(world, key)


async def test_a_predecessor_may_have_requests() -> None:
    async with _busy(IMPATIENT) as (world, key):
        before = world.master()
        world.driver.files.runtime.unlink()
        await world.until(lambda: world.driver.report().pid not in {None, before})
        await world.until(lambda: world.driver.report().reloads == 1)
        await _leaves(world)
        assert not await world.driver.idle(*key, within=0.3)
        await _done(world, key)
