"""The end of rows: by age, by size, and later for traces that the tail rules keep.

The engine deletes what is older than a table's TTL, by itself. Spans end in two steps, because those of kept traces are
in two tables: first the boundary moves (readers then take the kept ones from there, see schema/spans.sql), then the day
is dropped. When everything together passes `ATOLL_TELEMETRY_DISK_BYTES`, or the disk is almost full, days go before their
time, and that is logged and counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from atoll.errors import AtollError, StorageFull
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.settings import Tail, Telemetry
from atoll.telemetry import tail
from atoll.telemetry.ages import Drop, Part, ages, boundary, limit, to_drop, ttl
from atoll.telemetry.keeping import Keeper
from atoll.telemetry.pool import EnginePool

SWEEP = 60.0
"""Seconds between two looks at ages and sizes."""

TTLS = "SELECT name, create_table_query AS made FROM system.tables WHERE database = currentDatabase()"
PARTS = """
SELECT table, toUInt32OrZero(partition_id) AS day, name, min_block_number AS block, bytes_on_disk AS bytes
FROM system.parts WHERE active AND database = currentDatabase()
"""
DISK = "SELECT free_space AS free, total_space AS total FROM system.disks ORDER BY name = 'default' DESC LIMIT 1"
BOUNDARY = "SELECT toUnixTimestamp(toDateTime(max(Boundary))) AS boundary FROM kept_until"
MOVE = "INSERT INTO kept_until SELECT fromUnixTimestamp64Milli({boundary:Int64})"
OLD_SPANS = """
SELECT DISTINCT partition_id AS id FROM system.parts
WHERE active AND database = currentDatabase() AND table = 'spans' AND toUInt32OrZero(partition_id) < {day:UInt32}
"""

log = Log("telemetry.retention")


@dataclass
class Counts:
    """What was done since the process began."""

    bytes: int = 0
    """On disk, at the last look."""
    dropped_bytes: int = 0
    """That had to go before their time."""
    dropped: int = 0
    """Days and parts of them."""
    failures: int = 0
    """Looks that did not succeed; the next one repeats them."""
    keeper: Keeper | None = field(default=None, repr=False)


@asynccontextmanager
async def retaining(pool: EnginePool, clock: Clock, knobs: Telemetry, rules: Tail) -> AsyncIterator[Counts]:
    """Sweep and keep for the length of the block.

    Raises:
        InvalidValue: the settings `ATOLL_TAIL_…` cannot be read.
    """
    retention = Retention(pool, clock, knobs)
    keeper = Keeper(pool, tail.read(rules), quiet=rules.quiet)
    retention.counts.keeper = keeper

    async def sweep() -> None:
        while True:
            await retention.attempt("sweep", retention.sweep)
            await clock.sleep(SWEEP)

    async def keep() -> None:
        while True:
            await retention.attempt("keep", keeper.look)
            await clock.sleep(rules.every)

    async with owned("retention") as tasks:
        tasks.start("sweep", sweep())
        tasks.start("keep", keep())
        yield retention.counts


class Retention:
    """Age and size of what is stored."""

    def __init__(self, pool: EnginePool, clock: Clock, knobs: Telemetry) -> None:
        self._pool = pool
        self._clock = clock
        self._knobs = knobs
        self._told = ""
        self.counts = Counts()

    async def attempt(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`; what fails is counted, logged once, and tried again at its next turn."""
        try:
            await work()
        except AtollError as error:
            self.counts.failures += 1
            if self._told != error.detail:
                self._told = error.detail
                log.warning("retention did not succeed and tries again", what=what, code=error.code, why=error.detail)
        else:
            self._told = ""

    async def sweep(self) -> None:
        """One look at ages and sizes.

        Raises:
            AtollError: the engine did not do it.
        """
        await self._size()  # first: without room nothing else works
        await self._ages()

    async def _ages(self) -> None:
        made = {row["name"]: row["made"] for row in await self._pool.rows(TTLS)}
        for age in ages(self._knobs):
            if age.table in made and ttl(age) not in made[age.table]:
                await self._pool.command(f"ALTER TABLE {age.table} MODIFY TTL {ttl(age)}")
        start = boundary(self._clock.wall(), self._knobs.traces_days)
        await self._move(start)
        for row in await self._pool.rows(OLD_SPANS, {"day": int(f"{start:%Y%m%d}")}):
            await self._pool.command(f"ALTER TABLE spans DROP PARTITION ID '{int(row['id'])}'")

    async def _move(self, start: datetime) -> None:
        found = (await self._pool.rows(BOUNDARY))[0]["boundary"]
        if found < start.timestamp():
            await self._pool.command(MOVE, {"boundary": int(start.timestamp() * 1000)})

    async def _size(self) -> None:
        rows = await self._pool.rows(PARTS)
        disk = (await self._pool.rows(DISK))[0]
        self.counts.bytes = used = sum(row["bytes"] for row in rows)
        days = {age.table: age.days for age in ages(self._knobs)}
        parts = [
            Part(row["table"], _day(row["day"]), row["name"], row["block"], row["bytes"])
            for row in rows
            if row["table"] in days and row["day"]
        ]
        others = used - sum(part.bytes for part in parts)
        most = limit(self._knobs.disk_bytes, used, disk["free"], disk["total"])
        today = datetime.fromtimestamp(self._clock.wall(), UTC).date()
        for drop in to_drop(parts, most - others, days, today):
            await self._drop(drop)

    async def _drop(self, drop: Drop) -> None:
        after = datetime.combine(drop.day + timedelta(days=1), datetime.min.time(), UTC)
        moves = drop.table == "spans" and drop.part is None
        moved = False
        if moves:
            try:
                await self._move(after)
                moved = True
            except StorageFull:
                log.warning("no room to write down that spans end: they go first", day=drop.day)
        await self._pool.command(drop.statement())
        if moves and not moved:
            await self._move(after)
        self.counts.dropped += 1
        self.counts.dropped_bytes += drop.bytes
        log.warning("telemetry went before its time, for room", table=drop.table, day=drop.day, bytes=drop.bytes)


def _day(number: int) -> date:
    return date(number // 10_000, number // 100 % 100, number % 100)
