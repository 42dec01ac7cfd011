"""What is stored of metrics, read: series by matchers and time, their labels, metadata and exemplars.

Answers are whole or refused: over a limit there is no half of an answer. Times are milliseconds since 1970, both ends
included. The engine decides about patterns (RE2, anchored), so no pattern can take for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from atoll.errors import LimitReached
from atoll.telemetry.engine import Limits
from atoll.telemetry.metrics.conditions import TOLD_AGAIN, names_only, where
from atoll.telemetry.metrics.series import NAME, Histogram, Labels, Matcher, Milliseconds, SeriesSamples, Values

SERIES_LIMIT = 50_000
"""Series of one selection."""
SAMPLES_LIMIT = 5_000_000
"""Samples of one selection: 120 MB in memory."""
WORDS_LIMIT = 100_000
"""Names or values of labels in one answer."""
LIMITS = Limits(rows=SAMPLES_LIMIT)
EPOCH_END = 4_102_444_800_000
"""2100 in milliseconds: what is asked beyond it is asked up to it."""


class Reader(Protocol):
    """The readers of an engine: `pool.EnginePool`, or a fake."""

    async def arrow(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None
    ) -> Any:
        """See `engine.Engine.arrow`."""

    async def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None
    ) -> list[dict[str, Any]]:
        """See `engine.Engine.rows`."""


@dataclass(frozen=True)
class Found:
    """A series that matchers found."""

    id: int
    labels: Labels
    native: bool
    """It may have native histograms."""


@dataclass(frozen=True)
class Metadata:
    """What is told of a metric family."""

    family: str
    kind: str
    unit: str
    help: str


@dataclass(frozen=True)
class ExemplarFound:
    """An exemplar of a series."""

    series: Labels
    labels: Labels
    at: int
    value: float


async def select(
    pool: Reader, matchers: Sequence[Matcher], start_ms: int, end_ms: int, *, limits: Limits = LIMITS
) -> list[SeriesSamples]:
    """The series that every matcher takes, with their samples from `start_ms` to `end_ms`; in order of their labels.

    Series without a sample in that time are left out.

    Raises:
        InvalidValue: a pattern that RE2 cannot read.
        LimitReached: too many series or samples, or over the limits of time and memory.
    """
    start, end = _span(start_ms, end_ms)
    found = {one.id: one for one in await series(pool, matchers, start, end, limits=limits)}
    if not found:
        return []
    clause, parameters = where(names_only(matchers))
    parameters_all: dict[str, Any] = {**parameters, "ids": list(found), "start": start, "end": end}
    inside = (
        f"{clause} AND SeriesId IN {{ids:Array(UInt64)}} "
        "AND Timestamp BETWEEN fromUnixTimestamp64Milli({start:Int64}) AND fromUnixTimestamp64Milli({end:Int64})"
    )
    table = await pool.arrow(
        "SELECT SeriesId, toUnixTimestamp64Milli(Timestamp) AS At, Value FROM samples "  # noqa: S608 - our words
        f"WHERE {inside} ORDER BY MetricName, SeriesId, Timestamp",
        parameters_all,
        limits=limits,
    )
    columns = {
        id_: (times, values)
        for id_, times, values in _each(_column(table, "SeriesId"), _column(table, "At"), _column(table, "Value"))
    }
    natives: dict[int, list[tuple[int, Histogram]]] = {}
    if any(one.native for one in found.values()):
        rows = await pool.arrow(
            "SELECT *, toUnixTimestamp64Milli(Timestamp) AS At FROM histograms "  # noqa: S608 - our words
            f"WHERE {inside} ORDER BY MetricName, SeriesId, Timestamp",
            parameters_all,
            limits=limits,
        )
        for row in rows.drop_columns(["Timestamp"]).to_pylist():
            natives.setdefault(row["SeriesId"], []).append((row["At"], _histogram(row)))
    answer = []
    for id_, one in found.items():
        times, values = columns.get(id_, (np.empty(0, np.int64), np.empty(0)))
        if id_ in natives:
            answer.append(_merged(one.labels, times, values, natives[id_]))
        elif len(times):
            answer.append(SeriesSamples(one.labels, times, values))
    return sorted(answer, key=lambda one: one.labels)


async def series(
    pool: Reader, matchers: Sequence[Matcher], start_ms: int, end_ms: int, *, limits: Limits = LIMITS
) -> list[Found]:
    """The series that every matcher takes and that lived between the two times, to the hour.

    Raises:
        InvalidValue, LimitReached: as `select`.
    """
    clause, parameters = where(matchers)
    start, _ = _span(start_ms, end_ms)
    rows = await pool.arrow(
        "SELECT MetricName, SeriesId, anyLast(Labels) AS Pairs, anyLast(Type) AS Kind, anyLast(Family) AS Of "  # noqa: S608
        f"FROM series WHERE {clause} GROUP BY MetricName, SeriesId "
        "HAVING max(LastSeen) >= fromUnixTimestamp64Milli({since:Int64}) LIMIT {most:UInt32}",
        {**parameters, "since": start - 2 * TOLD_AGAIN, "most": SERIES_LIMIT + 1},
        limits=limits,
    )
    if rows.num_rows > SERIES_LIMIT:
        raise LimitReached(f"more than {SERIES_LIMIT} series match", hint="ask for fewer: add a matcher")
    return [
        Found(id_, _labels(name, pairs), kind == "histogram" and of == name)
        for name, id_, pairs, kind, of in zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True)
    ]


async def label_names(pool: Reader, matchers: Sequence[Matcher], start_ms: int) -> list[str]:
    """The names of the labels of series that lived at `start_ms` or later, sorted.

    Raises:
        InvalidValue, LimitReached: as `select`.
    """
    sql = "SELECT DISTINCT arrayJoin(mapKeys(Labels)) AS word FROM series WHERE "
    found = await _words(pool, sql, matchers, start_ms, {})
    return sorted({NAME, *found}) if found else []


async def label_values(pool: Reader, name: str, matchers: Sequence[Matcher], start_ms: int) -> list[str]:
    """The values of one label of series that lived at `start_ms` or later, sorted.

    Raises:
        InvalidValue, LimitReached: as `select`.
    """
    column = "MetricName" if name == NAME else "Labels[{name:String}]"
    sql = f"SELECT DISTINCT {column} AS word FROM series WHERE word != '' AND "  # noqa: S608 - our words
    return sorted(await _words(pool, sql, matchers, start_ms, {"name": name}))


async def metadata(pool: Reader, *, family: str = "", limit: int = 10_000) -> list[Metadata]:
    """What is told of metric families, by name: the newest word on each."""
    rows = await pool.rows(
        "SELECT Family, argMax(Type, Seen) AS kind, argMax(Unit, Seen) AS unit, argMax(Help, Seen) AS help FROM "
        "(SELECT *, LastSeen AS Seen FROM series) WHERE Family != '' AND ({family:String} = '' OR Family = {family:String}) "
        "GROUP BY Family ORDER BY Family LIMIT {limit:UInt32}",
        {"family": family, "limit": limit},
    )
    return [Metadata(row["Family"], row["kind"], row["unit"], row["help"]) for row in rows]


async def exemplars(
    pool: Reader, matchers: Sequence[Matcher], start_ms: int, end_ms: int, *, limit: int = 1000
) -> list[ExemplarFound]:
    """Exemplars of the series that every matcher takes: the newest `limit`, in order of time.

    Raises:
        InvalidValue, LimitReached: as `select`.
    """
    start, end = _span(start_ms, end_ms)
    found = {one.id: one.labels for one in await series(pool, matchers, start, end)}
    if not found:
        return []
    clause, parameters = where(names_only(matchers))
    rows = await pool.arrow(
        "SELECT SeriesId, toUnixTimestamp64Milli(Timestamp) AS At, Value, Labels FROM exemplars "  # noqa: S608 - our words
        f"WHERE {clause} AND SeriesId IN {{ids:Array(UInt64)}} "
        "AND Timestamp BETWEEN fromUnixTimestamp64Milli({start:Int64}) AND fromUnixTimestamp64Milli({end:Int64}) "
        "ORDER BY Timestamp DESC LIMIT {limit:UInt32}",
        {**parameters, "ids": list(found), "start": start, "end": end, "limit": limit},
    )
    return [
        ExemplarFound(found[row["SeriesId"]], tuple(sorted(row["Labels"])), row["At"], row["Value"])
        for row in reversed(rows.to_pylist())
    ]


async def _words(
    pool: Reader, sql: str, matchers: Sequence[Matcher], start_ms: int, parameters: dict[str, Any]
) -> list[str]:
    clause, bound = where(matchers)
    start, _ = _span(start_ms, start_ms)
    rows = await pool.rows(
        f"{sql} ({clause}) AND LastSeen >= fromUnixTimestamp64Milli({{since:Int64}}) LIMIT {{most:UInt32}}",
        {**bound, **parameters, "since": start - 2 * TOLD_AGAIN, "most": WORDS_LIMIT + 1},
    )
    if len(rows) > WORDS_LIMIT:
        raise LimitReached(f"more than {WORDS_LIMIT} words", hint="ask for fewer: add a matcher")
    return [row["word"] for row in rows]


def _span(start_ms: int, end_ms: int) -> tuple[int, int]:
    """Times that the engine can hold."""
    return min(max(0, start_ms), EPOCH_END), min(max(0, end_ms), EPOCH_END)


def _labels(name: str, pairs: Sequence[tuple[str, str]]) -> Labels:
    return tuple(sorted(((NAME, name), *pairs)))


def _column(table: Any, name: str) -> Any:
    return table[name].to_numpy()


def _each(ids: Any, times: Milliseconds, values: Values) -> Iterator[tuple[int, Milliseconds, Values]]:
    """Cut the columns where the series changes; of samples at one time the last stays."""
    if not len(ids):
        return
    changes = ids[1:] != ids[:-1]
    keep = np.append(changes | (times[1:] != times[:-1]), True)
    if not keep.all():
        ids, times, values = ids[keep], times[keep], values[keep]
        changes = ids[1:] != ids[:-1]
    cuts = [0, *(np.flatnonzero(changes) + 1), len(ids)]
    for begin, end in pairwise(cuts):
        yield int(ids[begin]), times[begin:end], values[begin:end]


def _histogram(row: Mapping[str, Any]) -> Histogram:
    return Histogram(
        schema=row["Schema"],
        count=row["Count"],
        sum=row["Sum"],
        zero_threshold=row["ZeroThreshold"],
        zero_count=row["ZeroCount"],
        positive_offset=row["PositiveOffset"],
        positive=np.asarray(row["Positive"], np.float64),
        negative_offset=row["NegativeOffset"],
        negative=np.asarray(row["Negative"], np.float64),
    )


def _merged(labels: Labels, times: Milliseconds, values: Values, natives: list[tuple[int, Histogram]]) -> SeriesSamples:
    """Numbers and histograms of one series on one axis; a histogram wins over a number of the same time."""
    histograms = dict(natives)
    numbers = {at: index for index, at in enumerate(times.tolist())}
    order = sorted({*numbers, *histograms})
    merged = np.zeros(len(order))
    for index, at in enumerate(order):
        if at not in histograms:
            merged[index] = values[numbers[at]]
    return SeriesSamples(labels, np.array(order, np.int64), merged, tuple(histograms.get(at) for at in order))
