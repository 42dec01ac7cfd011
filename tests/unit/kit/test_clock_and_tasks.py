from __future__ import annotations

import asyncio

import pytest

from atoll.kit.tasks import owned
from atoll.testing import FakeClock, settle


async def test_a_fake_clock_wakes_sleepers_in_the_order_of_their_deadlines() -> None:
    clock = FakeClock()
    woken: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    async with owned("test") as tasks:
        tasks.start("late", sleeper("late", 3))
        tasks.start("early", sleeper("early", 1))
        await clock.advance(2)
        assert woken == ["early"]
        await clock.advance(2)
    assert woken == ["early", "late"]


async def test_leaving_the_owner_ends_its_tasks() -> None:
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with owned("test") as tasks:
        tasks.start("forever", forever())
        await settle()
    assert ended.is_set()
    assert len(tasks) == 0


async def test_a_task_that_fails_takes_its_owner_with_it() -> None:
    async def fails() -> None:
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup) as caught:
        async with owned("test") as tasks:
            tasks.start("fails", fails())
            await asyncio.Event().wait()
    assert caught.group_contains(ValueError, match="broken")
