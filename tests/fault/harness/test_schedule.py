"""Promises are looked at when it was said, and a breach is never slept over."""

from __future__ import annotations

import asyncio

import pytest

from atoll.testing import FakeClock, settle
from atoll.testing.promises import Breach, PromiseBroken
from tests.fault.checks.schedule import anytime, eventually, until
from tests.fault.drivers.pace import RATE_LIMIT, paced


class Promise:
    def __init__(self, *outcomes: bool) -> None:
        self.outcomes = list(outcomes)
        self.looks = 0

    async def __call__(self) -> list[Breach]:
        self.looks += 1
        holds = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        return [] if holds else [Breach("a promise", f"look {self.looks}")]


async def test_anytime_looks_all_through_the_block_and_once_at_its_end() -> None:
    clock, promise = FakeClock(), Promise(True)
    async with anytime(promise, every=0.25, clock=clock):
        await clock.advance(1.0)
    assert promise.looks == 6


async def test_a_breach_in_the_middle_of_the_block_is_told_at_its_end() -> None:
    clock, promise = FakeClock(), Promise(True, False, True)
    with pytest.raises(PromiseBroken, match="look 2"):
        async with anytime(promise, every=0.2, clock=clock):
            await clock.advance(1.0)


async def test_eventually_waits_for_the_promise_and_not_longer() -> None:
    clock, promise = FakeClock(), Promise(False, False, True)
    waiting = asyncio.ensure_future(eventually(promise, clock=clock))
    await clock.advance(0.3)
    assert not waiting.done()
    await clock.advance(0.2)
    await waiting
    assert promise.looks == 3


async def test_eventually_gives_up_with_what_it_still_finds() -> None:
    clock = FakeClock()
    waiting = asyncio.ensure_future(eventually(Promise(False), within=2.0, clock=clock))
    await clock.advance(2.3)
    with pytest.raises(PromiseBroken, match="a promise"):
        await waiting


async def test_until_names_what_did_not_happen() -> None:
    with pytest.raises(TimeoutError, match="the impossible"):
        await until(lambda: False, "the impossible", within=0.02)


async def test_load_is_bounded_in_rate_number_and_time_and_does_not_catch_up_after_a_pause() -> None:
    clock = FakeClock()
    moments: list[float] = []

    async def drive(rate: float, calls: int, seconds: float, stall: float = 0.0) -> None:
        async for number in paced(rate, calls=calls, seconds=seconds, clock=clock):
            moments.append(clock.now() - 1000.0)
            if stall and number == 1:
                await clock.sleep(stall)

    driving = asyncio.ensure_future(drive(10, calls=5, seconds=60))
    await clock.advance(10)
    await driving
    assert moments == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    moments.clear()
    driving = asyncio.ensure_future(drive(10_000, calls=1 << 30, seconds=1))
    await clock.advance(2)
    await driving
    assert len(moments) <= RATE_LIMIT + 2
    moments.clear()
    driving = asyncio.ensure_future(drive(10, calls=20, seconds=60, stall=5.0))
    await clock.advance(20)
    await driving
    await settle()
    after = [moment for moment in moments if moment > moments[1]]
    assert after[0] - moments[1] >= 5.0
    assert after[2] - after[1] == pytest.approx(0.1)
