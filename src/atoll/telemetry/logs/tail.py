"""The live tail: records as they are committed, each once, whatever time they claim.

It goes by when a record arrived in the store. Inserts overlap, so each look goes BACK over what was seen and leaves out
what is known. A record that was shown as printed is not shown again when it arrives as OTLP some seconds later.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field

from atoll.errors import InvalidValue
from atoll.kit.clock import Clock, Instant
from atoll.telemetry.logs.answers import LogRecord
from atoll.telemetry.logs.reading import asked, joined, record_of, understood
from atoll.telemetry.logs.search import COLUMNS, Search, conditions
from atoll.telemetry.logs.twins import PRINTED, twins
from atoll.telemetry.query.app import Queries

LOOK = 0.25
"""Seconds between two looks while somebody waits."""
BACK = 3_000
"""Milliseconds that an insert may take between its rows' stamp and its end."""
AT_ONCE = 2_000
"""Records of one look; of more, the newest are shown and the rest is counted."""
REMEMBERED = 30.0
"""Seconds that a record waits for its twin."""
TAILS = 64
"""Tails at once; the one that was asked least lately goes."""
IDLE = 60.0
"""Seconds after which a tail that nobody asks is forgotten."""


@dataclass
class Follow:
    """One tail: what it wants, and what it has seen."""

    search: Search
    asked: Instant
    since: int
    """Milliseconds: the newest arrival that was seen."""
    seen: dict[tuple[object, ...], tuple[int, int]] = field(default_factory=dict)
    """How many of a record, and when it arrived."""
    alone: list[tuple[Instant, LogRecord]] = field(default_factory=list)
    """Shown lately, without a twin so far."""

    async def look(self, queries: Queries) -> tuple[list[LogRecord], int]:
        """What is new, in order of time, and how many more there were."""
        where, values = conditions(self.search)
        if not self.search.trace:  # what was printed is captured too, and sent only for the sake of its trace
            where, values["printed"] = f"{where} AND ScopeName != {{printed:String}}", PRINTED
        values["arrived"] = self.since - BACK
        known = len(self.seen)
        rows = await asked(
            queries,
            f"SELECT {COLUMNS}, toUnixTimestamp64Milli(Arrived) AS arrived FROM logs WHERE {where} "  # noqa: S608 - ours
            "AND Arrived > fromUnixTimestamp64Milli({arrived:Int64}) "
            "ORDER BY Arrived DESC, Timestamp DESC LIMIT {limit:UInt64}",
            {**values, "limit": AT_ONCE + known + 1},
            rows=AT_ONCE + known + 1,
        )
        counts: Counter[tuple[object, ...]] = Counter()
        fresh: list[LogRecord] = []
        for row in rows:
            self.since = max(self.since, row["arrived"])
            key = (row["at"], row["service"], row["instance"], row["source"], hash(row["text"]))
            counts[key] += 1
            had, _ = self.seen.get(key, (0, 0))
            if counts[key] > had:
                self.seen[key] = (counts[key], row["arrived"])
                fresh.append(record_of(row))
        skipped = 0
        if len(fresh) > AT_ONCE:
            skipped = await self._count(queries, where, values) - known - AT_ONCE
            del fresh[AT_ONCE:]
        self.seen = {key: one for key, one in self.seen.items() if one[1] > self.since - BACK}
        fresh.sort(key=lambda record: record.nanos)
        return self._without_twins(fresh, queries.clock.now()), max(0, skipped)

    async def _count(self, queries: Queries, where: str, values: dict[str, object]) -> int:
        rows = await asked(
            queries,
            f"SELECT count() AS count FROM logs WHERE {where} AND Arrived > fromUnixTimestamp64Milli({{arrived:Int64}})",  # noqa: S608 - ours
            values,
            rows=1,
        )
        return int(rows[0]["count"])

    def _without_twins(self, fresh: list[LogRecord], now: Instant) -> list[LogRecord]:
        """`fresh` without what was shown in another way, be it now or some seconds ago."""
        old = [(at, record) for at, record in self.alone if now - at < REMEMBERED]
        records = [record for _, record in old] + fresh
        pairs = twins(records)
        matched = {*pairs, *pairs.values()}
        self.alone = [one for index, one in enumerate(old) if index not in matched]
        self.alone += [(now, record) for index, record in enumerate(fresh, len(old)) if index not in matched]
        for printed, sent in pairs.items():
            if printed >= len(old) and sent >= len(old):
                records[sent] = joined(records[sent], records[printed])
        hidden = {printed if min(printed, sent) >= len(old) else max(printed, sent) for printed, sent in pairs.items()}
        return [understood(records[index]) for index in range(len(old), len(records)) if index not in hidden]


class Tails:
    """The tails that are followed now, by the random id in their cursors."""

    def __init__(self) -> None:
        self._open: dict[str, Follow] = {}

    async def begin(self, queries: Queries, search: Search) -> tuple[str, Follow]:
        """A new tail that shows what arrives from now on."""
        rows = await asked(queries, "SELECT toUnixTimestamp64Milli(now64(3)) AS now", {}, rows=1)
        self._forget(queries.clock)
        identity = secrets.token_hex(8)
        self._open[identity] = follow = Follow(search, queries.clock.now(), int(rows[0]["now"]))
        return identity, follow

    def find(self, identity: str, clock: Clock) -> Follow:
        """A tail that was begun before.

        Raises:
            InvalidValue: it is not known, or nobody asked it for too long.
        """
        self._forget(clock)
        follow = self._open.get(identity)
        if follow is None:
            raise InvalidValue("cursor: this tail is not known any more", hint="begin a new one", field="cursor")
        follow.asked = clock.now()
        return follow

    def _forget(self, clock: Clock) -> None:
        now = clock.now()
        for identity, follow in list(self._open.items()):
            if now - follow.asked > IDLE:
                del self._open[identity]
        while len(self._open) >= TAILS:
            del self._open[min(self._open, key=lambda one: self._open[one].asked)]
