"""Memory given back after questions: a question touches code and makes room that an idle process does not need.

A look every LOOK seconds; when questions were answered since the last time and none runs, the engine rests. Measured:
85 MB after one of every kind of question, for 2 to 4 ms of work, and as much or (seldom) 30 ms for the next question.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from atoll.errors import AtollError
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.telemetry.pool import EnginePool

LOOK = 10.0
"""Seconds between two looks: who asks all the time pays some milliseconds as often as that."""

log = Log("telemetry")


@dataclass
class Counts:
    """Since the start of the process."""

    rests: int = 0
    """Times that memory was given back."""
    failures: int = 0


@asynccontextmanager
async def resting(pool: EnginePool, clock: Clock) -> AsyncIterator[Counts]:
    """Look for the length of the block."""
    counts = Counts()

    async def look() -> None:
        answered = 0
        while True:
            await clock.sleep(LOOK)
            lane = pool.reading
            if lane.open or lane.done + lane.failed == answered:
                continue
            answered = lane.done + lane.failed
            try:
                await asyncio.to_thread(pool.engine.rest)
                counts.rests += 1
            except AtollError as error:
                counts.failures += 1
                log.debug("memory cannot be given back now", cause=error)

    async with owned("telemetry.resting") as tasks:
        tasks.start("look", look())
        yield counts
