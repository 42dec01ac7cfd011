"""The series that are being written to: found by a key, made when there is room, forgotten when they fall silent.

Promises: at most `limit` series (and a tenth of that for overflow), whatever is sent; a series is written down before
or together with its first sample, and again every hour. Refuses nothing by itself without counting it. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from atoll.telemetry.metrics.cardinality import Cardinality, Room
from atoll.telemetry.metrics.conditions import TOLD_AGAIN
from atoll.telemetry.metrics.entry import Entry, series_id
from atoll.telemetry.metrics.names import OVERFLOW
from atoll.telemetry.metrics.rows import About, NewSeries, Rows
from atoll.telemetry.metrics.sources import Sources

IDLE = 15 * 60_000
"""Milliseconds of silence after which a series gives its room back."""
TURN = 5 * 60_000
"""Milliseconds between two looks for silent ones."""
SOURCES_FACTOR = 2
"""Numbers remembered for overflow series, as a multiple of the limit of series."""

Members: TypeAlias = Sequence[tuple[str, dict[str, str]]]
"""Names and labels of the series of one entry."""
Make: TypeAlias = Callable[[dict[str, str] | None], Members]
"""Makes the members: with their own labels, or with those given instead (the overflow's)."""


@dataclass(frozen=True)
class Shape:
    """How many series one label set of a metric has, and with which bounds."""

    weight: int = 1
    bounds: tuple[float, ...] = ()
    part: str = ""
    """The name of a series that is written by itself, though it is a part of a histogram."""


class Book:
    """What is known of every live series. `rows` is the batch that is being filled."""

    def __init__(self, limit: int) -> None:
        self.rows = Rows()
        self.now = 0
        """Milliseconds, set before each piece of work."""
        self.body = 0
        """Number of the piece of work."""
        self.cardinality = Cardinality(limit)
        self.sources = Sources(limit * SOURCES_FACTOR)
        self._entries: dict[int, Entry] = {}
        self._overflowing: dict[int, Entry] = {}
        self._turned = 0

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, now: int) -> None:
        """A new piece of work at `now` (milliseconds)."""
        self.now = now
        self.body += 1
        if now - self._turned >= TURN:
            self._turned = now
            self._forget(now - IDLE)

    def find(self, key: int) -> Entry | None:
        """The entry of `key`, when nothing is to be told of it."""
        entry = self._entries.get(key)
        if entry is None or entry.told <= self.now - TOLD_AGAIN:
            return None
        entry.seen = self.now
        return entry

    def enter(self, key: int, about: About, own: dict[str, str], shape: Shape, make: Make) -> Entry | None:
        """The entry of `key`, made or told again; None: there is no room, and that was counted.

        `own` are the labels that say whose it is. The overflow of a metric is shared by label sets of one shape.
        """
        entry = self._entries.get(key)
        if entry is None:
            service = own.get("service", "")
            room = self.cardinality.room(about.family, service, shape.weight)
            if room is not Room.OWN:
                return self._overflow(about, own, shape, make) if room is Room.OVERFLOW else None
            members = make(None)
            entry = self._entries[key] = _made(about, service, members)
            self.cardinality.take(about.family, service, shape.weight)
        else:
            members = make(None)
        self._tell(entry, about, members)
        return entry

    def _overflow(self, about: About, own: dict[str, str], shape: Shape, make: Make) -> Entry | None:
        """The entry in which label sets of one metric and service without room are added up."""
        known = self.cardinality.knows(own.get("service", ""))
        shared: dict[str, str] = {name: own[name] for name in ("service", "job") if known and name in own}
        key = hash(("overflow", about.family, about.kind, shape, *shared.values()))
        entry = self._entries.get(key)
        if entry is None or entry.told <= self.now - TOLD_AGAIN:
            if entry is None and not self.cardinality.spare(shape.weight):
                return None
            members = make({**shared, OVERFLOW: "true"})
            if entry is None:
                entry = self._entries[key] = _made(about, shared.get("service", ""), members)
                entry.overflow = True
            self._tell(entry, about, members)
        entry.seen = self.now
        self._overflowing[key] = entry
        return entry

    def finish(self) -> list[Entry]:
        """The overflow entries that this piece of work has touched; each is to be written once."""
        touched = list(self._overflowing.values())
        self._overflowing.clear()
        return touched

    def _tell(self, entry: Entry, about: About, members: Members) -> None:
        entry.told = entry.seen = self.now
        self.rows.series.extend(
            NewSeries(name, id_, labels, about, self.now, entry)
            for (name, labels), id_ in zip(members, entry.ids, strict=True)
        )

    def _forget(self, before: int) -> None:
        for key in [key for key, entry in self._entries.items() if entry.seen < before]:
            entry = self._entries.pop(key)
            if entry.overflow:
                self.cardinality.reserve -= len(entry.ids)
            else:
                self.cardinality.give(entry.family, entry.service, len(entry.ids))
        self.sources.turn()


def _made(about: About, service: str, members: Members) -> Entry:
    names = tuple(name for name, _ in members)
    return Entry(about.family, service, names, tuple(series_id(name, labels) for name, labels in members))
