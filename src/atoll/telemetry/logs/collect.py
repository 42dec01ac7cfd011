"""The collector: from the files of captured output into the store, each line at least once.

A round reads a bounded share of every instance, makes records of the lines, commits them as one insert and only then
keeps the places. So a crash at any moment brings at most one round again (ROUND and one poll more: 4 MiB of text), and
loses nothing that is still in the files. While the engine takes nothing, lines stay where they are; what the
keeper rotates away meanwhile is counted and told in the log itself. It never takes more than half of one processor:
after a round it rests as long as the round took.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from atoll.errors import AtollError, BadRequest
from atoll.kit.backoff import Backoff
from atoll.kit.clock import Clock, Instant
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.telemetry.engine import Insert
from atoll.telemetry.logs import places
from atoll.telemetry.logs.places import Kept
from atoll.telemetry.logs.rows import COLUMNS
from atoll.telemetry.logs.source import Open, Piece, Source
from atoll.telemetry.logs.stream import Stream

POLL = 0.15
"""Seconds between two looks at files in which nothing was new."""
FLUSH = 0.4
"""Seconds between two inserts at least: one costs 10 to 30 ms of processor time, however few lines it has."""
ROUND = 2 << 20
"""Bytes after which a round asks no source for more."""
FULL = 128 << 10
"""Bytes of one instance in one poll from which on there is probably more."""
TROUBLE_EVERY = 30.0
"""Seconds between two log lines about an engine that does not take lines."""
TABLE = "logs"
log = Log("telemetry")


class Inserts(Protocol):
    """Who commits rows: `telemetry.pool.EnginePool`, or a fake."""

    async def insert(self, insert: Insert) -> None:
        """Commit; raises as `Engine.insert`."""


@dataclass
class Counts:
    """What the collector did since it started."""

    lines: int = 0
    """Read from files."""
    records: int = 0
    """Committed; fewer than lines, for traces are joined and blank lines left out."""
    inserts: int = 0
    lost: int = 0
    """Lines that were rotated away before they could be stored, as far as they could be counted."""
    gaps: int = 0
    """Times that lines were lost without a number (while nobody collected)."""
    refused: int = 0
    """Records that the engine could not read; they were left out."""
    waits: int = 0
    """Times that the engine took nothing and was asked again."""
    behind: bool = False
    """The last round was full: there is more to read."""
    seconds: float = 0.0
    """Spent in rounds, waiting for commits included."""

    @property
    def warning(self) -> str:
        """What a person should know; empty: nothing."""
        if self.lost or self.gaps:
            said = f"{self.lost} lines" if self.lost else "lines"
            return f"{said} of captured output were rotated away before they could be stored"
        return ""


@dataclass
class Batch:
    """The rows of one round, and the places behind them."""

    rows: list[bytes] = field(default_factory=list)
    lines: int = 0
    lost: int = 0
    gaps: int = 0
    full: bool = False


class Collector:
    """See the module. `sources` by the name in the column Source; `path`: the file of places."""

    def __init__(self, sources: Mapping[str, Open], pool: Inserts, clock: Clock, path: Path) -> None:
        self.counts = Counts()
        self._pool = pool
        self._clock = clock
        self._path = path
        self._kept = places.load(path)
        self._sources: dict[str, Source] = {}
        for name, open_source in sources.items():
            known = self._kept.setdefault(name, {})
            self._sources[name] = open_source({key: one.place for key, one in known.items()})
        self._streams: dict[tuple[str, str], Stream] = {}
        self._stopping = False
        self._told = float("-inf")

    def stop(self) -> None:
        """End after the round that goes on."""
        self._stopping = True

    async def run(self) -> None:
        """Collect until `stop`."""
        while not self._stopping:
            began = self._clock.now()
            committed = await self.round()
            busy = self._clock.now() - began
            self.counts.seconds += busy
            if self.counts.behind:
                await self._clock.sleep(busy)
            else:
                await self._clock.sleep(max(busy, FLUSH - busy) if committed else POLL)
        self.close()

    def close(self) -> None:
        """Let go of the files; the places stay."""
        for source in self._sources.values():
            source.close()

    async def round(self) -> int:
        """Read, commit, keep the places; returns the number of records."""
        batch = await asyncio.to_thread(self.gather)
        counts = self.counts
        counts.lines += batch.lines
        counts.lost += batch.lost
        counts.gaps += batch.gaps
        counts.behind = batch.full
        if batch.rows and not await self._commit(batch.rows):
            return 0
        if batch.lines or batch.rows:
            await asyncio.to_thread(self._keep)
        return len(batch.rows)

    def gather(self) -> Batch:
        """What is new in the files, as rows. Blocking."""
        batch = Batch()
        now = self._clock.now()
        heard: set[tuple[str, str]] = set()
        for name, source in self._sources.items():
            read, more = 0, True
            while more and read < ROUND:
                more = False
                for piece in source.poll():
                    size = self._take(name, piece, batch, now)
                    heard.add((name, f"{piece.service}/{piece.instance}"))
                    read += size
                    more = more or size >= FULL
            batch.full = batch.full or more
        for key, stream in self._streams.items():
            if stream.holds and key not in heard:
                stream.settle(batch.rows, now)
        return batch

    def _take(self, name: str, piece: Piece, batch: Batch, now: Instant) -> int:
        """The lines of one piece into rows; returns its bytes."""
        key = f"{piece.service}/{piece.instance}"
        stream = self._streams.get((name, key))
        if stream is None:
            known = self._kept[name].get(key)
            stream = self._streams[name, key] = Stream(piece.service, piece.instance, name, known.run if known else "")
        stream.take(piece, batch.rows, now)
        batch.lines += len(piece.texts)
        batch.lost += piece.lost
        batch.gaps += piece.gap
        return piece.place[2] - piece.starts[0] if piece.starts else 0

    def _keep(self) -> None:
        """Keep the places of what is committed."""
        for (name, key), stream in self._streams.items():
            if stream.place is not None:
                self._kept[name][key] = Kept(stream.place, stream.kept_run)
        try:
            places.save(self._path, self._kept)
        except OSError as error:
            self._tell("how far logs were read cannot be kept", error)

    async def _commit(self, rows: list[bytes]) -> bool:
        """Insert, again and again until the engine takes it; rows that it cannot read are found and left out.

        False: it takes nothing and we are to stop; the lines stay in their files.
        """
        backoff = Backoff(base=0.5, cap=5.0)
        while True:
            try:
                await self._pool.insert(Insert(table=TABLE, format="TSV", data=rows, columns=COLUMNS))
            except BadRequest as error:
                return await self._halves(rows, error)
            except AtollError as error:
                self.counts.waits += 1
                self._tell("lines wait in their files: the engine does not take them", error)
                if self._stopping:
                    return False
                await self._clock.sleep(backoff.next())
            else:
                self.counts.records += len(rows)
                self.counts.inserts += 1
                return True

    async def _halves(self, rows: list[bytes], error: BadRequest) -> bool:
        if len(rows) == 1:
            self.counts.refused += 1
            self._tell("a record was left out: the engine cannot read it", error)
            return True
        middle = len(rows) // 2
        return await self._commit(rows[:middle]) and await self._commit(rows[middle:])

    def _tell(self, event: str, error: Exception) -> None:
        """One log line a window: our own log is collected too."""
        if self._clock.now() - self._told >= TROUBLE_EVERY:
            self._told = self._clock.now()
            log.warning(event, error=error)


@asynccontextmanager
async def collecting(sources: Mapping[str, Open], pool: Inserts, clock: Clock, path: Path) -> AsyncIterator[Collector]:
    """Collect for the length of the block."""
    collector = await asyncio.to_thread(Collector, sources, pool, clock, path)
    async with owned("logs") as tasks:
        task = tasks.start("collect", collector.run())
        yield collector
        collector.stop()
        await task
