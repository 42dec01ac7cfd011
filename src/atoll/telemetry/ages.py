"""How long each table keeps its rows, and what goes first when there is too much. Pure.

Ages are deleted by the engine itself (TTL): whole days at once. Size is ours: the day that is nearest to the end of its
own time goes first, over all tables, so that a month of small metrics does not die for a week of large logs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from atoll.settings import Telemetry

DAY = 86_400
NET = 2.0
"""Days after which the engine deletes spans that we did not: their end is ours, see `retention`."""
SEEN = 1.0
"""Days: of a series that lives it is written down once an hour; what it was called must outlive its samples."""
RUN = 365.0
"""Days: counts of one run of HAProxy are added up, and half of a sum would look like lost lines."""
AIM = 0.95
"""Share of the limit that is left after something had to go: room for the next minutes."""


@dataclass(frozen=True)
class Age:
    """A table's way to know how old a row is."""

    table: str
    time: str
    """An SQL expression over a row: a DateTime."""
    days: float


def ages(knobs: Telemetry) -> tuple[Age, ...]:
    """Of every table that keeps rows."""
    return (
        Age("spans", "toDateTime(Timestamp)", knobs.traces_days + NET),
        Age("kept_spans", "toDateTime(Timestamp)", max(knobs.kept_days, knobs.traces_days + NET)),
        Age("logs", "toDateTime(Timestamp)", knobs.logs_days),
        Age("requests", "Time", knobs.metrics_days),
        Age("samples", "toDateTime(Timestamp)", knobs.metrics_days),
        Age("histograms", "toDateTime(Timestamp)", knobs.metrics_days),
        Age("exemplars", "toDateTime(Timestamp)", knobs.metrics_days),
        Age("series", "toDateTime(LastSeen)", knobs.metrics_days + SEEN),
        Age("request_lines", "toDateTime(Day)", knobs.metrics_days + RUN),
    )


def ttl(age: Age) -> str:
    """The TTL of its table."""
    return f"{age.time} + toIntervalSecond({round(age.days * DAY)})"


def boundary(now: float, traces_days: float) -> datetime:
    """From when on spans are kept whether or not a rule keeps their trace: the start of a day (UTC)."""
    oldest = datetime.fromtimestamp(now, UTC) - timedelta(days=traces_days)
    return oldest.replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class Part:
    """A piece of a table on disk: rows of one day."""

    table: str
    day: date
    name: str
    block: int
    """The number of its first insert: a smaller one is older."""
    bytes: int


@dataclass(frozen=True)
class Drop:
    """What is to go: a day of a table, or one part of today."""

    table: str
    day: date
    bytes: int
    part: str | None = None

    def statement(self) -> str:
        """As SQL."""
        what = f"PART '{self.part}'" if self.part else f"PARTITION ID '{self.day:%Y%m%d}'"
        return f"ALTER TABLE {self.table} DROP {what}"


def limit(disk_bytes: int, used: int, free: int, total: int) -> int:
    """Bytes that may be used: what was asked for, or less when the disk itself is almost full."""
    reserve = min(1 << 30, total // 20)
    return max(0, min(disk_bytes, used + free - reserve))


def to_drop(parts: Sequence[Part], limit: int, days: Mapping[str, float], today: date) -> list[Drop]:
    """What must go so that the rest is within `limit` bytes; nothing when it is. Whole days first; of today only when
    it alone is too much: the oldest parts, and never a table's newest.
    """
    excess = sum(part.bytes for part in parts) - limit * AIM
    if sum(part.bytes for part in parts) <= limit:
        return []
    drops: list[Drop] = []
    for drop in (*_earlier(parts, days, today), *_of_today(parts, today)):
        if excess <= 0:
            break
        drops.append(drop)
        excess -= drop.bytes
    return drops


def _earlier(parts: Iterable[Part], days: Mapping[str, float], today: date) -> list[Drop]:
    sizes: dict[tuple[str, date], int] = {}
    for part in parts:
        if part.day < today:
            sizes[part.table, part.day] = sizes.get((part.table, part.day), 0) + part.bytes
    drops = [Drop(table, day, size) for (table, day), size in sizes.items()]
    return sorted(drops, key=lambda drop: (-((today - drop.day).days / days[drop.table]), -drop.bytes))


def _of_today(parts: Iterable[Part], today: date) -> list[Drop]:
    """The oldest parts of the largest table first, then those of the next."""
    tables: dict[str, list[Part]] = {}
    for part in parts:
        if part.day >= today:
            tables.setdefault(part.table, []).append(part)
    drops = []
    for found in sorted(tables.values(), key=lambda found: -sum(part.bytes for part in found)):
        old = sorted(found, key=lambda part: part.block)[:-1]
        drops += [Drop(part.table, part.day, part.bytes, part.name) for part in old]
    return drops
