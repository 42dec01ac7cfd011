"""The engine's threads: its calls block, the event loop must not.

Inserts and queries have threads of their own, so a heavy question does not hold up what arrives. Both queues are
bounded: what finds no place is refused, with a hint when to come again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from atoll.errors import Overloaded
from atoll.kit.clock import Clock, Instant
from atoll.telemetry.engine import Engine, Insert, Limits

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

WRITERS = 2
READERS = 4
WAITING = 64
"""Calls that may wait for a thread, of each kind."""


@dataclass
class Lane:
    """The threads for one kind of call, and what they did; read by whoever shows the process's state."""

    executor: ThreadPoolExecutor
    limit: int
    open: int = 0
    """Calls waiting and running."""
    done: int = 0
    failed: int = 0
    refused: int = 0
    seconds: float = 0.0
    """Time in the engine, of all calls together."""
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def enter(self) -> bool:
        """Take a place; False, and counted, when there is none."""
        with self._guard:
            if self.open >= self.limit:
                self.refused += 1
                return False
            self.open += 1
            return True

    def leave(self) -> None:
        """Give the place back; from any thread."""
        with self._guard:
            self.open -= 1


class EnginePool:
    """An engine for asyncio. Made with an open engine, which it does not close."""

    def __init__(self, engine: Engine, clock: Clock, *, writers: int = WRITERS, readers: int = READERS) -> None:
        self.engine = engine
        self._clock = clock
        self.writing = Lane(ThreadPoolExecutor(writers, "engine-write"), writers + WAITING)
        self.reading = Lane(ThreadPoolExecutor(readers, "engine-read"), readers + WAITING)
        self._inserting: dict[object, Instant] = {}

    async def insert(self, insert: Insert) -> None:
        """Commit rows; see `Engine.insert`.

        Raises:
            Overloaded: also when too many calls wait.
        """
        await self._run(self.writing, lambda: self._insert(insert))

    def _insert(self, insert: Insert) -> None:
        ticket = object()
        self._inserting[ticket] = self._clock.now()
        try:
            self.engine.insert(insert)
        finally:
            del self._inserting[ticket]

    def inserting_for(self) -> float:
        """Seconds since the start of the oldest insert that still runs; 0 when none does. Its rows carry that time, and
        nobody has seen them yet.
        """
        started = tuple(self._inserting.values())
        return self._clock.now() - min(started) if started else 0.0

    async def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """A statement that changes something; see `Engine.command`."""
        await self._run(self.writing, lambda: self.engine.command(sql, parameters))

    async def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None
    ) -> list[dict[str, Any]]:
        """The answer as dicts; see `Engine.rows`.

        Raises:
            Overloaded: also when too many calls wait.
        """
        return await self._run(self.reading, lambda: self.engine.rows(sql, parameters, limits=limits))

    async def arrow(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None
    ) -> pa.Table:
        """The answer as columns; see `Engine.arrow`.

        Raises:
            Overloaded: also when too many calls wait.
        """
        return await self._run(self.reading, lambda: self.engine.arrow(sql, parameters, limits=limits))

    async def close(self) -> None:
        """Wait for what runs; what still waits is given up. The engine stays open."""
        for lane in (self.writing, self.reading):
            await asyncio.to_thread(lane.executor.shutdown, wait=True, cancel_futures=True)

    async def _run(self, lane: Lane, call: Callable[[], T]) -> T:
        if not lane.enter():
            raise Overloaded("too many calls wait for the telemetry engine", retry_after=2)
        running = lane.executor.submit(self._timed, lane, call)
        # A caller that goes away leaves its call running: the place is free only when the thread is.
        running.add_done_callback(lambda _: lane.leave())
        try:
            answer = await asyncio.wrap_future(running)
        except Exception:
            lane.failed += 1
            raise
        lane.done += 1
        return answer

    def _timed(self, lane: Lane, call: Callable[[], T]) -> T:
        started = self._clock.now()
        try:
            return call()
        finally:
            lane.seconds += self._clock.now() - started
