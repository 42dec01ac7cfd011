"""A desk for unit tests: a book and what was written into it, and an engine that only remembers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from atoll.errors import AtollError
from atoll.telemetry.engine import Insert
from atoll.telemetry.metrics.book import Book
from atoll.telemetry.metrics.otlp import Body
from atoll.telemetry.metrics.series import STALE_BITS, Histogram
from tests.unit.telemetry.metrics.otlp_bodies import NOW

STALE = "stale"
DAYS_30 = 30 * 86_400_000


class Desk:
    """Takes bodies, and tells what is written for each series."""

    def __init__(self, limit: int = 1000) -> None:
        self.book = Book(limit)
        self.labels: dict[int, tuple[tuple[str, str], ...]] = {}

    def take(self, body: bytes, *, now: int = NOW) -> dict[str, int]:
        """The reasons of what was refused."""
        self.book.begin(now)
        return Body(self.book, oldest=DAYS_30).take(body)[1]

    def written(self) -> dict[str, list[tuple[int, float | str | Histogram]]]:
        """By series (`name{labels}`, whose it is left out): what was written since the last call, at NOW + ms."""
        rows = self.book.rows
        for one in rows.series:
            own = ("service", "job", "instance")
            self.labels[one.id] = tuple((k, v) for k, v in sorted(one.labels.items()) if k not in own)
        found: dict[str, list[tuple[int, float | str | Histogram]]] = {}
        bits = memoryview(rows.values.tobytes()).cast("Q")
        for index, (name, id_, at) in enumerate(zip(rows.names, rows.ids, rows.times, strict=True)):
            value: float | str = STALE if bits[index] == STALE_BITS else rows.values[index]
            found.setdefault(self._name(name, id_), []).append((at - NOW, value))
        for name, id_, at, histogram in rows.histograms:
            found.setdefault(self._name(name, id_), []).append((at - NOW, histogram))
        self.book.rows = type(rows)()
        return found

    def values(self) -> dict[str, list[float | str | Histogram]]:
        """As `written`, without the times, and without target_info."""
        return {
            name: [value for _, value in samples]
            for name, samples in self.written().items()
            if not name.startswith("target_info")
        }

    def _name(self, name: str, id_: int) -> str:
        labels = ",".join(f"{label}={value}" for label, value in self.labels[id_])
        return f"{name}{{{labels}}}" if labels else name


@dataclass
class Memory:
    """An engine's writers that remember, or fail as told."""

    tables: list[str] = field(default_factory=list)
    failures: list[AtollError] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def insert(self, insert: Insert) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.tables.append(insert.table)
