"""What waits to be committed: bodies of one signal are gathered and inserted together, and each sender hears how it went.

When to flush is decided purely (`Pace`): an insert costs 50 to 100 ms of CPU whatever is in it, so with steady traffic
there are at most two in `longest` seconds, and fewer when they take long; after quiet the first few go at once, so that
what a person just did is seen at once. A body that the engine does not take fails its batch: the batch is halved until the bad one stands alone, and only
its sender is told. Bytes are bounded by whoever adds (`limits.Room`): they are held until `add` returns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from atoll.errors import AtollError, BadRequest, Overloaded
from atoll.kit.clock import Clock, Instant
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.telemetry.signal import Signal

GATHER = 0.05
"""Seconds that the first body waits for others that are on their way."""
BURST = 3
"""Inserts that may follow each other at once, after as many pauses of quiet."""
SHARE = 4
"""An insert is followed by a pause of this many times what it took, within half of `longest` and `longest`."""
FLUSH_BYTES = 8 << 20
"""Bytes that are inserted at once, however young they are; the engine needs ten times as much for a moment."""
FLUSH_BODIES = 2048
STEP = 0.05
"""Seconds between two looks at what is gathered."""
log = Log("telemetry")
Write = Callable[[Signal, Sequence[bytes]], Awaitable[None]]
"""Commits bodies, all or none; raises as `Engine.insert`."""


class Pace:
    """When to flush. Pure: time is an argument. `longest`: seconds from insert to insert under steady traffic, at most."""

    def __init__(self, longest: float, now: Instant) -> None:
        self._longest = longest
        self._interval = longest / 2
        self._credit = float(BURST)
        self._at = now

    def wait(self, now: Instant, oldest: Instant, size: int, bodies: int) -> float:
        """Seconds until what is gathered is flushed; 0: now."""
        if size >= FLUSH_BYTES or bodies >= FLUSH_BODIES:
            return 0.0
        self._earn(now)
        gathering = oldest + GATHER - now
        earning = (1.0 - self._credit) * self._interval
        return max(0.0, gathering, earning)

    def flushed(self, now: Instant) -> None:
        """An insert begins."""
        self._earn(now)
        self._credit = max(0.0, self._credit - 1.0)

    def took(self, seconds: float) -> None:
        """An insert has ended."""
        self._interval = min(self._longest, max(self._longest / 2, SHARE * seconds))

    def _earn(self, now: Instant) -> None:
        self._credit = min(float(BURST), self._credit + (now - self._at) / max(self._interval, 1e-9))
        self._at = now


@dataclass
class Waiting:
    """One body, and the future that its sender waits for."""

    body: bytes
    since: Instant
    done: asyncio.Future[None]


@dataclass
class Flushes:
    """What the buffer counts."""

    inserts: int = 0
    """That committed."""
    bodies: int = 0
    """In them."""
    failed: int = 0
    """Inserts that the engine did not do; what was in them was refused, or tried again in parts."""
    unstorable: int = 0
    """Bodies that failed alone."""
    abandoned: int = 0
    """Bodies whose sender gave up before they were inserted."""
    seconds: float = 0.0
    """Spent waiting for the engine."""
    last: float = 0.0
    """Wall time of the last commit; 0: none yet."""


@dataclass
class Queue:
    """What waits of one signal."""

    pace: Pace
    waiting: deque[Waiting] = field(default_factory=deque)
    bytes: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Buffer:
    """See the module. `longest`: seconds, as `Pace` has it."""

    def __init__(
        self, write: Write, clock: Clock, *, longest: float, signals: Collection[Signal] = (Signal.TRACES, Signal.LOGS)
    ) -> None:
        self.counts = Flushes()
        self._write = write
        self._clock = clock
        self._ending = False
        self._queues = {signal: Queue(Pace(longest, clock.now())) for signal in signals}

    @property
    def waiting(self) -> tuple[int, int]:
        """(bodies, bytes) that are not in an insert yet."""
        queues = self._queues.values()
        return sum(len(queue.waiting) for queue in queues), sum(queue.bytes for queue in queues)

    async def add(self, signal: Signal, body: bytes) -> None:
        """Wait until `body` is committed.

        Raises:
            BadRequest: the engine cannot read it.
            StorageFull: no room on disk.
            Overloaded: the engine is away or out of memory, or this process is ending.
        """
        if self._ending:
            raise Overloaded("telemetry is ending", hint="send it again", retry_after=2)
        queue = self._queues[signal]
        entry = Waiting(body, self._clock.now(), asyncio.get_running_loop().create_future())
        queue.waiting.append(entry)
        queue.bytes += len(body)
        queue.news.set()
        await entry.done

    @asynccontextmanager
    async def flushing(self) -> AsyncIterator[None]:
        """Flush for the length of the block; at its end, everything that still waits."""
        async with owned("buffer") as tasks:
            loops = [tasks.start(str(signal), self._run(signal)) for signal in self._queues]
            try:
                yield
            finally:
                self._ending = True
                for queue in self._queues.values():
                    queue.news.set()
                await asyncio.gather(*loops)

    async def _run(self, signal: Signal) -> None:
        queue = self._queues[signal]
        while True:
            if not queue.waiting:
                if self._ending:
                    return
                queue.news.clear()
                await queue.news.wait()
                continue
            oldest = queue.waiting[0].since
            wait = queue.pace.wait(self._clock.now(), oldest, queue.bytes, len(queue.waiting))
            if wait > 0 and not self._ending:
                await self._clock.sleep(min(wait, STEP))
                continue
            began = self._clock.now()
            queue.pace.flushed(began)
            await self._commit(signal, self._batch(queue))
            queue.pace.took(self._clock.now() - began)

    def _batch(self, queue: Queue) -> list[Waiting]:
        """What is inserted next; bodies whose sender gave up are left out."""
        found: list[Waiting] = []
        size = 0
        while queue.waiting and len(found) < FLUSH_BODIES and (not found or size < FLUSH_BYTES):
            entry = queue.waiting.popleft()
            queue.bytes -= len(entry.body)
            if entry.done.done():
                self.counts.abandoned += 1
                continue
            found.append(entry)
            size += len(entry.body)
        return found

    async def _commit(self, signal: Signal, batch: list[Waiting]) -> None:
        if not batch:
            return
        began = self._clock.now()
        try:
            await self._write(signal, [entry.body for entry in batch])
        except BadRequest as error:
            self.counts.failed += 1
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._commit(signal, batch[:middle])
                await self._commit(signal, batch[middle:])
                return
            self.counts.unstorable += 1
            log.warning("a body cannot be stored", signal=signal, bytes=len(batch[0].body), cause=error.detail)
            _tell(batch, error)
        except AtollError as error:
            self.counts.failed += 1
            _tell(batch, error)
        except Exception as error:  # noqa: BLE001 - one insert that fails in a new way must not end all that follow
            self.counts.failed += 1
            log.error("an insert failed", signal=signal, bodies=len(batch), cause=repr(error))
            _tell(batch, Overloaded("the telemetry engine failed", hint="telemetry's log says why", retry_after=5))
        else:
            self.counts.inserts += 1
            self.counts.bodies += len(batch)
            self.counts.last = self._clock.wall()
            _tell(batch, None)
        finally:
            self.counts.seconds += self._clock.now() - began


def _tell(batch: list[Waiting], error: AtollError | None) -> None:
    """Every sender of a batch hears how it went; one that gave up is not there to hear it."""
    for entry in batch:
        if entry.done.done():
            continue
        if error is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(error)
