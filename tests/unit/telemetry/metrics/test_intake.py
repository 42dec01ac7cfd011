"""The way to the commit: who is answered has his rows committed, who is not keeps them, and what waits is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from atoll.errors import Overloaded, StorageFull
from atoll.settings import Telemetry
from atoll.telemetry.metrics import intake as intake_module
from atoll.telemetry.metrics.intake import Intake, taking
from atoll.telemetry.metrics.otlp import Sink
from atoll.testing import FakeClock
from tests.unit.telemetry.metrics import otlp_bodies as otlp
from tests.unit.telemetry.metrics.otlp_bodies import NOW
from tests.unit.telemetry.metrics.stage import Memory

BODY = otlp.body(otlp.counter("orders", otlp.number(7)), otlp.exponential("took", otlp.powers([1], 0, 0, 1.0)))


@asynccontextmanager
async def sink(memory: Memory, clock: FakeClock) -> AsyncIterator[tuple[Sink, Intake]]:
    async with taking(memory, clock, Telemetry(flush=1.0)) as intake:
        yield Sink(intake, days=30), intake


async def waiting(intake: Intake, rows: int) -> None:
    """Until so many rows wait for their commit."""
    async with asyncio.timeout(5):
        while intake.waiting < rows:  # noqa: ASYNC110 - filled by a thread
            await asyncio.sleep(0)


async def test_a_body_is_answered_when_its_rows_are_committed_and_not_before() -> None:
    memory, clock = Memory(), FakeClock()
    async with sink(memory, clock) as (door, intake):
        writing = asyncio.create_task(door.write(BODY))
        await waiting(intake, 4)
        assert not writing.done()
        await commit(clock, writing)
        assert (await writing).accepted == 2
        assert memory.tables == ["series", "samples", "histograms"]
        assert (intake.counts.rows, door.accepted, intake.waiting) == (4, 2, 0)


async def commit(clock: FakeClock, *writing: asyncio.Task[object]) -> None:
    """Let time go on until these are answered."""
    async with asyncio.timeout(5):
        while not all(task.done() for task in writing):
            await clock.advance(0.5)


async def test_bodies_of_one_second_are_committed_together() -> None:
    memory, clock = Memory(), FakeClock()
    async with sink(memory, clock) as (door, intake):
        writing = [asyncio.create_task(door.write(BODY)) for _ in range(5)]
        await waiting(intake, 10)
        await commit(clock, *writing)
        assert memory.tables == ["series", "samples", "histograms"]
        assert intake.counts.batches == 1


async def test_a_full_disk_is_told_to_the_sender_and_the_series_is_told_again() -> None:
    memory, clock = Memory(failures=[StorageFull("no room")]), FakeClock()
    async with sink(memory, clock) as (door, intake):
        for expected in (StorageFull, None):
            writing = asyncio.create_task(door.write(BODY))
            await waiting(intake, 4)
            await commit(clock, writing)
            if expected is not None:
                with pytest.raises(expected):
                    await writing
                assert intake.counts.lost == 4
        assert memory.tables == ["series", "samples", "histograms"]


async def test_more_than_may_wait_is_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "ROWS_LIMIT", 3)
    memory, clock = Memory(gate=asyncio.Event()), FakeClock()
    async with sink(memory, clock) as (door, intake):
        writing = asyncio.create_task(door.write(BODY))
        await waiting(intake, 4)
        with pytest.raises(Overloaded):
            await door.write(BODY)
        assert intake.counts.refused == 1
        assert memory.gate is not None
        memory.gate.set()
        await commit(clock, writing)


async def test_what_waits_at_the_end_is_committed() -> None:
    memory, clock = Memory(), FakeClock()
    async with sink(memory, clock) as (door, intake):
        writing = asyncio.create_task(door.write(BODY))
        await waiting(intake, 4)
    assert (await writing).accepted == 2
    assert memory.tables == ["series", "samples", "histograms"]


async def test_a_body_that_brings_nothing_waits_for_nothing() -> None:
    memory, clock = Memory(), FakeClock()
    async with sink(memory, clock) as (door, _):
        rejected = await door.write(otlp.body(otlp.gauge("level", otlp.number(1.0, NOW * 2))))
        assert (rejected.accepted, rejected.points, rejected.message) == (0, 1, "1 from the future")
