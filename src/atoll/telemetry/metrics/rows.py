"""What waits to be committed, in columns: samples, native histograms, exemplars, and the series that are new.

`inserts` makes Arrow streams of them, series first: a sample is never there without its series. Bits of values are kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from atoll.telemetry.engine import Insert
from atoll.telemetry.metrics.entry import Entry
from atoll.telemetry.metrics.series import Histogram

MILLISECONDS = pa.timestamp("ms", tz="UTC")
MAP = pa.map_(pa.string(), pa.string())


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
            made.append(_insert("series", _series(self.series)))
        if self.ids:
            made.append(
                _insert(
                    "samples",
                    {
                        "MetricName": _words(self.names),
                        "SeriesId": pa.array(np.frombuffer(self.ids, np.uint64)),
                        "Timestamp": _times(np.frombuffer(self.times, np.int64)),
                        "Value": pa.array(np.frombuffer(self.values, np.float64)),
                    },
                )
            )
        if self.histograms:
            made.append(_insert("histograms", _histograms(self.histograms)))
        if self.exemplars:
            made.append(_insert("exemplars", _exemplars(self.exemplars)))
        return made


def _insert(table: str, columns: dict[str, Any]) -> Insert:
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return Insert(table=table, format="ArrowStream", data=[sink.getvalue().to_pybytes()], columns=tuple(columns))


def _words(words: list[str]) -> Any:
    return pa.array(words, pa.string()).dictionary_encode()


def _times(milliseconds: Any) -> Any:
    return pa.array(milliseconds, pa.int64()).cast(MILLISECONDS)


def _maps(maps: list[dict[str, str]]) -> Any:
    return pa.array([list(one.items()) for one in maps], MAP)


def _series(series: list[NewSeries]) -> dict[str, Any]:
    times = _times([one.at for one in series])
    return {
        "MetricName": _words([one.name for one in series]),
        "SeriesId": pa.array([one.id for one in series], pa.uint64()),
        "Labels": _maps([one.labels for one in series]),
        "Family": _words([one.about.family for one in series]),
        "Type": _words([one.about.kind for one in series]),
        "Unit": _words([one.about.unit for one in series]),
        "Help": _words([one.about.help for one in series]),
        "FirstSeen": times,
        "LastSeen": times,
    }


def _histograms(rows: list[tuple[str, int, int, Histogram]]) -> dict[str, Any]:
    values = [value for _, _, _, value in rows]
    floats = pa.list_(pa.float64())
    return {
        "MetricName": _words([name for name, _, _, _ in rows]),
        "SeriesId": pa.array([series for _, series, _, _ in rows], pa.uint64()),
        "Timestamp": _times([at for _, _, at, _ in rows]),
        "Schema": pa.array([value.schema for value in values], pa.int8()),
        "Count": pa.array([value.count for value in values], pa.float64()),
        "Sum": pa.array([value.sum for value in values], pa.float64()),
        "ZeroThreshold": pa.array([value.zero_threshold for value in values], pa.float64()),
        "ZeroCount": pa.array([value.zero_count for value in values], pa.float64()),
        "PositiveOffset": pa.array([value.positive_offset for value in values], pa.int32()),
        "Positive": pa.array([value.positive for value in values], floats),
        "NegativeOffset": pa.array([value.negative_offset for value in values], pa.int32()),
        "Negative": pa.array([value.negative for value in values], floats),
    }


def _exemplars(rows: list[Exemplar]) -> dict[str, Any]:
    return {
        "MetricName": _words([one.name for one in rows]),
        "SeriesId": pa.array([one.id for one in rows], pa.uint64()),
        "Timestamp": _times([one.at for one in rows]),
        "Value": pa.array([one.value for one in rows], pa.float64()),
        "Labels": _maps([one.labels for one in rows]),
    }
