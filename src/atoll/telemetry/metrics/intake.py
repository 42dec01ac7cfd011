"""Where metrics are written: pieces of work fill a batch, which is committed at the pace of the other signals.

Promises: who was told that his metrics are taken finds them in the engine; work never blocks the event loop (it runs
in one thread, one piece after the other); what waits is bounded. Refuses work beyond that with `Overloaded`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from atoll.errors import AtollError, Overloaded
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.settings import Telemetry
from atoll.telemetry.buffer import Pace
from atoll.telemetry.engine import Insert
from atoll.telemetry.metrics.book import Book
from atoll.telemetry.metrics.rows import Rows

T = TypeVar("T")

ROWS_LIMIT = 500_000
"""Rows that may wait for their commit: about 40 MB."""
WORK_LIMIT = 64
"""Pieces of work that may wait for the thread."""
log = Log("metrics")


class Inserter(Protocol):
    """The writers of an engine: `pool.EnginePool`, or a fake."""

    async def insert(self, insert: Insert) -> None:
        """See `engine.Engine.insert`."""


@dataclass
class Batch:
    """Rows that are committed together, and who waits for it."""

    rows: Rows
    done: asyncio.Future[None]


@dataclass
class Counts:
    """What was taken and what was lost, since the start."""

    rows: int = 0
    """Rows committed: samples, histograms, exemplars, series."""
    batches: int = 0
    lost: int = 0
    """Rows whose commit failed; their senders were told."""
    refused: int = 0
    """Pieces of work that found no place."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Points refused, by reason."""


class Intake:
    """Made by `taking`."""

    def __init__(self, pool: Inserter, clock: Clock, knobs: Telemetry) -> None:
        self.counts = Counts()
        self.book = Book(knobs.series)
        self._pool = pool
        self._clock = clock
        self._pace = Pace(knobs.flush, clock.now())
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._batch = self._new()
        self._filled = asyncio.Event()
        self._waiting = 0
        self._committing = 0

    @property
    def waiting(self) -> int:
        """Rows that are not committed yet."""
        return len(self._batch.rows) + self._committing

    async def take(self, work: Callable[[Book], T]) -> T:
        """Run `work` in the thread and wait until what it wrote is committed.

        Raises:
            Overloaded: too much waits already, or the engine is away; nothing is kept.
            StorageFull: the disk is full.
        """
        if self.waiting > ROWS_LIMIT or self._waiting >= WORK_LIMIT:
            self.counts.refused += 1
            raise Overloaded("too many metrics wait for their commit", hint="send again later", retry_after=2)
        self._waiting += 1
        try:
            answer, batch = await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)
        finally:
            self._waiting -= 1
        if len(batch.rows) or batch is not self._batch:
            self._filled.set()
            await asyncio.shield(batch.done)
        return answer

    async def run(self) -> None:
        """Commit batches until cancelled; a process that ends waits for its last ones."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            filled = self._clock.now()
            await self._clock.sleep(self._pace.wait(filled, filled, 0, 1))
            began = self._clock.now()
            self._pace.flushed(began)
            await self.commit()
            self._pace.took(self._clock.now() - began)

    async def commit(self) -> None:
        """Commit what is there now."""
        batch = await asyncio.get_running_loop().run_in_executor(self._thread, self._swap, self._new())
        self._committing = size = len(batch.rows)
        try:
            for insert in await asyncio.to_thread(batch.rows.inserts):
                await self._pool.insert(insert)
        except AtollError as error:
            self.counts.lost += size
            for series in batch.rows.series:
                if series.entry is not None:
                    series.entry.told = 0
            log.warning("metrics were not committed; their senders are told", rows=size, reason=error.code)
            batch.done.set_exception(error)
        except BaseException:
            batch.done.set_exception(Overloaded("the telemetry process stops", retry_after=2))
            raise
        else:
            self.counts.rows += size
            self.counts.batches += bool(size)
            batch.done.set_result(None)
        finally:
            self._committing = 0

    def figures(self) -> dict[str, float]:
        """Everything it counts, by name; for the process's status."""
        counts, cardinality = self.counts, self.book.cardinality
        return {
            "rows": counts.rows,
            "batches": counts.batches,
            "lost": counts.lost,
            "refused": counts.refused,
            "waiting": self.waiting,
            "series": cardinality.series,
            "series_limit": cardinality.limit,
            "metrics": cardinality.names,
            "overflow_series": cardinality.reserve,
            "overflowed": cardinality.overflowed,
            "series_refused": cardinality.refused,
            **{f"rejected {reason}": count for reason, count in counts.reasons.items()},
            **{f"overflowed {metric}": count for metric, count in cardinality.worst()},
        }

    @property
    def warning(self) -> str:
        """What a person should look at; empty: nothing."""
        worst = self.book.cardinality.worst()
        if not worst:
            return ""
        names = ", ".join(name for name, _ in worst[:3])
        return f"metrics have more series than there is room for ({names}): what is beyond is added up"

    async def close(self) -> None:
        """Commit the rest; the thread ends."""
        await self.commit()
        await asyncio.to_thread(self._thread.shutdown)

    def refuse(self, reason: str, points: int) -> None:
        """Count refused points."""
        self.counts.reasons[reason] = self.counts.reasons.get(reason, 0) + points

    def _new(self) -> Batch:
        done = asyncio.get_running_loop().create_future()
        done.add_done_callback(lambda future: future.exception())  # nobody may be waiting
        return Batch(Rows(), done)

    def _work(self, work: Callable[[Book], T]) -> tuple[T, Batch]:
        batch = self._batch
        self.book.rows = batch.rows
        self.book.begin(int(self._clock.wall() * 1000))
        return work(self.book), batch

    def _swap(self, new: Batch) -> Batch:
        old, self._batch = self._batch, new
        return old


@asynccontextmanager
async def taking(pool: Inserter, clock: Clock, knobs: Telemetry) -> AsyncIterator[Intake]:
    """An intake that commits for the length of the block, and the rest at its end."""
    intake = Intake(pool, clock, knobs)
    try:
        async with owned("metrics") as tasks:
            tasks.start("commit", intake.run())
            yield intake
    finally:
        await intake.close()
