from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.contract.gateway_edge.world import World, a_world


@pytest.fixture
async def cold() -> AsyncIterator[World]:
    """A world whose gateway has not been started."""
    async with a_world() as world:
        yield world


@pytest.fixture
async def world(cold: World) -> AsyncIterator[World]:
    """A world whose gateway runs; a driver that fails fails the test."""
    ready, over = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        # in one task from begin to end: fixtures are set up and torn down in two
        async with cold.driver.running():
            ready.set()
            await over.wait()
            await cold.driver.stop(0)

    life = asyncio.create_task(live())
    await asyncio.wait({life, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    yield cold
    over.set()
    await life
