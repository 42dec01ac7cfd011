"""One point of an OTLP metric, judged and written: numbers, histograms with bounds, exponential ones, summaries.

A point is taken or refused as a whole, with a reason. What it says is made cumulative: differences are added up; a
sender that starts anew after a newer start is shown by a zero at that start, so that no increase is lost.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from atoll.telemetry.metrics.attributes import pairs_of
from atoll.telemetry.metrics.book import Book
from atoll.telemetry.metrics.entry import Entry
from atoll.telemetry.metrics.histograms import added
from atoll.telemetry.metrics.names import label_name
from atoll.telemetry.metrics.rows import Exemplar
from atoll.telemetry.metrics.series import STALE_NAN, Histogram

FUTURE = 600_000
"""Milliseconds that a point may be ahead of our clock."""
MILLION = 1_000_000
EXEMPLARS_LIMIT = 4
"""Exemplars taken of one point: the last ones."""
EXEMPLAR_TEXT = 256
"""Characters of an exemplar's labels together."""


class Reason(StrEnum):
    """Why a point is refused."""

    NAME = "with a name that cannot be translated"
    TEMPORALITY = "without temporality"
    TOO_OLD = "too old"
    FUTURE = "from the future"
    DUPLICATE = "twice, or older than what is known of the series"
    VALUE = "with an impossible value"
    BUCKETS = "with buckets that do not fit together"
    ATTRIBUTES = "with too many attributes"
    SERIES = "of a series too many"


class Refused(Exception):
    """A point that is not taken."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Points:
    """Writes points of one body into the book's rows. `oldest`: milliseconds."""

    def __init__(self, book: Book, *, oldest: int) -> None:
        self._book = book
        self._oldest = oldest

    def time(self, point: Any) -> int:
        """The point's time in milliseconds; that of arrival when it says none.

        Raises:
            Refused: from the future, or older than anything that is kept.
        """
        at: int = point.time_unix_nano // MILLION or self._book.now
        if at > self._book.now + FUTURE:
            raise Refused(Reason.FUTURE)
        if at < self._oldest:
            raise Refused(Reason.TOO_OLD)
        return at

    def ended(self, entry: Entry, at: int) -> None:
        """The sender has nothing more to say of it: its series are stale."""
        if not entry.overflow:
            self._book.rows.samples(entry.names, entry.ids, at, (STALE_NAN,) * len(entry.ids))
            entry.last = max(entry.last, at)

    def level(self, entry: Entry, at: int, values: Sequence[float]) -> None:
        """Values that stand for themselves: gauges, and quantiles."""
        if entry.overflow:
            entry.totals, entry.last = list(values), max(entry.last, at)
            return
        self._once(entry, at)
        self._book.rows.samples(entry.names, entry.ids, at, values)

    def grown(self, entry: Entry, key: int, at: int, start: int, values: Sequence[float], *, rising: int) -> None:
        """Values that have added up since `start`. `rising`: so many of them, from the first, never go down."""
        if entry.overflow:
            room, said = self._book.sources.swap(key, values, len(values))
            if not room:
                raise Refused(Reason.SERIES)
            anew = said is None or any(values[index] < said[index] for index in range(rising))
            more = values if anew else [new - old for new, old in zip(values, said, strict=True)]
            self._add(entry, at, more)
            return
        before = entry.last
        self._once(entry, at)
        if entry.start and start > entry.start and before < start // MILLION < at and rising:
            self._book.rows.samples(entry.names, entry.ids, start // MILLION, (0.0,) * len(entry.ids))
        entry.start = max(start, entry.start)
        self._book.rows.samples(entry.names, entry.ids, at, values)
        entry.last = max(entry.last, at)

    def differed(self, entry: Entry, at: int, values: Sequence[float]) -> None:
        """Values since the point before."""
        if not entry.overflow:
            if at <= entry.last:
                raise Refused(Reason.DUPLICATE)
            self._add(entry, at, values)
            self._book.rows.samples(entry.names, entry.ids, at, entry.totals)
        else:
            self._add(entry, at, values)

    def native(self, entry: Entry, key: int, at: int, value: Histogram, *, delta: bool) -> None:
        """A native histogram."""
        if not entry.overflow and not delta:
            self._once(entry, at)
            self._book.rows.histogram(entry.names[0], entry.ids[0], at, value)
            entry.last = max(entry.last, at)
            return
        if not entry.overflow and at <= entry.last:
            raise Refused(Reason.DUPLICATE)
        before = None
        if not delta:
            room, before = self._book.sources.swap(key, value, len(value.positive) + len(value.negative) + 4)
            if not room:
                raise Refused(Reason.SERIES)
        total = value if entry.totals is None else added(entry.totals, value)
        if total is not None and before is not None and before.count <= value.count:
            total = added(total, before, sign=-1)
        if total is None:
            raise Refused(Reason.BUCKETS)
        entry.totals, entry.last = total, max(entry.last, at)
        if not entry.overflow:
            self._book.rows.histogram(entry.names[0], entry.ids[0], at, total)

    def total(self, entry: Entry) -> None:
        """Write the totals of an overflow entry, later than the ones before."""
        if entry.totals is None:
            return
        if isinstance(entry.totals, Histogram):
            self._book.rows.histogram(entry.names[0], entry.ids[0], entry.last, entry.totals)
        else:
            self._book.rows.samples(entry.names, entry.ids, entry.last, entry.totals)
        entry.last += 1

    def exemplars(self, entry: Entry, point: Any, bounds: Sequence[float] | None) -> None:
        """Keep the last exemplars of a point; those of a histogram belong to their bucket."""
        if entry.overflow:
            return
        for one in point.exemplars[-EXEMPLARS_LIMIT:]:
            value = one.as_double if one.WhichOneof("value") == "as_double" else float(one.as_int)
            index = 0 if bounds is None else bisect_left(bounds, value)
            labels = {
                label_name(name): text for name, text in pairs_of(one.filtered_attributes) if label_name(name) and text
            }
            if sum(len(name) + len(text) for name, text in labels.items()) > EXEMPLAR_TEXT:
                labels = {}
            if len(one.trace_id) == 16:
                labels["trace_id"] = one.trace_id.hex()
            if len(one.span_id) == 8:
                labels["span_id"] = one.span_id.hex()
            at = one.time_unix_nano // MILLION
            if self._oldest <= at <= self._book.now + FUTURE and labels and not math.isnan(value):
                self._book.rows.exemplars.append(Exemplar(entry.names[index], entry.ids[index], at, value, labels))

    def _once(self, entry: Entry, at: int) -> None:
        """Two points of one series at one time in one body cannot both be true: the first stays."""
        if entry.turn == self._book.body and entry.last == at:
            raise Refused(Reason.DUPLICATE)
        entry.turn, entry.last = self._book.body, max(entry.last, at)

    def _add(self, entry: Entry, at: int, values: Sequence[float]) -> None:
        if entry.totals is None:
            entry.totals = [0.0] * len(values)
        for index, value in enumerate(values):
            entry.totals[index] += value
        entry.last = max(entry.last, at)
