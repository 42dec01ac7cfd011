"""What waits to be committed, in columns: samples, native histograms, exemplars, and the series that are new.

`inserts` makes blocks of ClickHouse's own format of them, series first: a sample is never there without its series. Bits of values are kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from atoll.telemetry import native
from atoll.telemetry.engine import Insert
from atoll.telemetry.metrics.entry import Entry
from atoll.telemetry.metrics.series import Histogram
from atoll.telemetry.native import MILLISECONDS, Column


@dataclass(frozen=True)
class About:
    """What is told of a family of series."""

    family: str
    kind: str
    unit: str = ""
    help: str = ""


@dataclass(frozen=True)
class NewSeries:
    """A series to be written down. `labels` without the name; times in milliseconds."""

    name: str
    id: int
    labels: dict[str, str]
    about: About
    at: int
    entry: Entry | None = None
    """Whose it is; told again when the batch was not committed."""


@dataclass(frozen=True)
class Exemplar:
    """An example of what was measured. `labels`: trace_id, span_id, …"""

    name: str
    id: int
    at: int
    value: float
    labels: dict[str, str]


@dataclass
class Rows:
    """One batch. Not safe for threads."""

    names: list[str] = field(default_factory=list)
    ids: array[int] = field(default_factory=lambda: array("Q"))
    times: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    histograms: list[tuple[str, int, int, Histogram]] = field(default_factory=list)
    exemplars: list[Exemplar] = field(default_factory=list)
    series: list[NewSeries] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids) + len(self.histograms) + len(self.exemplars) + len(self.series)

    def sample(self, name: str, series: int, at: int, value: float) -> None:
        """One number."""
        self.names.append(name)
        self.ids.append(series)
        self.times.append(at)
        self.values.append(value)

    def samples(self, names: Sequence[str], series: Sequence[int], at: int, values: Sequence[float]) -> None:
        """Numbers of several series at one time."""
        self.names.extend(names)
        self.ids.extend(series)
        self.times.extend([at] * len(names))
        self.values.extend(values)

    def histogram(self, name: str, series: int, at: int, value: Histogram) -> None:
        """One native histogram."""
        self.histograms.append((name, series, at, value))

    def inserts(self) -> list[Insert]:
        """What to insert, in this order."""
        made = []
        if self.series:
            made.append(_insert("series", len(self.series), _series(self.series)))
        if self.ids:
            columns = {
                "MetricName": native.texts(self.names),
                "SeriesId": native.numbers("UInt64", self.ids),
                "Timestamp": native.numbers(MILLISECONDS, self.times),
                "Value": native.numbers("Float64", self.values),
            }
            made.append(_insert("samples", len(self.ids), columns))
        if self.histograms:
            made.append(_insert("histograms", len(self.histograms), _histograms(self.histograms)))
        if self.exemplars:
            made.append(_insert("exemplars", len(self.exemplars), _exemplars(self.exemplars)))
        return made


def _insert(table: str, rows: int, columns: dict[str, Column]) -> Insert:
    return Insert(table=table, format="Native", data=[native.block(rows, columns)], columns=tuple(columns))


def _series(series: list[NewSeries]) -> dict[str, Column]:
    times = native.numbers(MILLISECONDS, [one.at for one in series])
    return {
        "MetricName": native.texts(one.name for one in series),
        "SeriesId": native.numbers("UInt64", [one.id for one in series]),
        "Labels": native.maps([one.labels for one in series]),
        "Family": native.texts(one.about.family for one in series),
        "Type": native.texts(one.about.kind for one in series),
        "Unit": native.texts(one.about.unit for one in series),
        "Help": native.texts(one.about.help for one in series),
        "FirstSeen": times,
        "LastSeen": times,
    }


def _histograms(rows: list[tuple[str, int, int, Histogram]]) -> dict[str, Column]:
    values = [value for _, _, _, value in rows]
    return {
        "MetricName": native.texts(name for name, _, _, _ in rows),
        "SeriesId": native.numbers("UInt64", [series for _, series, _, _ in rows]),
        "Timestamp": native.numbers(MILLISECONDS, [at for _, _, at, _ in rows]),
        "Schema": native.numbers("Int8", [value.schema for value in values]),
        "Count": native.numbers("Float64", [value.count for value in values]),
        "Sum": native.numbers("Float64", [value.sum for value in values]),
        "ZeroThreshold": native.numbers("Float64", [value.zero_threshold for value in values]),
        "ZeroCount": native.numbers("Float64", [value.zero_count for value in values]),
        "PositiveOffset": native.numbers("Int32", [value.positive_offset for value in values]),
        "Positive": native.lists("Float64", [value.positive.tolist() for value in values]),
        "NegativeOffset": native.numbers("Int32", [value.negative_offset for value in values]),
        "Negative": native.lists("Float64", [value.negative.tolist() for value in values]),
    }


def _exemplars(rows: list[Exemplar]) -> dict[str, Column]:
    return {
        "MetricName": native.texts(one.name for one in rows),
        "SeriesId": native.numbers("UInt64", [one.id for one in rows]),
        "Timestamp": native.numbers(MILLISECONDS, [one.at for one in rows]),
        "Value": native.numbers("Float64", [one.value for one in rows]),
        "Labels": native.maps([one.labels for one in rows]),
    }
