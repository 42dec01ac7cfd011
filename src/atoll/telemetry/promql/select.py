"""From stored samples to what a selector yields: the newest within the lookback, or all of a range.

A mark of staleness ends a series until its next sample; it is never a value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atoll.telemetry.metrics.series import Milliseconds, SeriesSamples, is_stale
from atoll.telemetry.promql.value import Objects, Vector, empty


def newest(series: Sequence[SeriesSamples], times: Milliseconds, lookback: int) -> tuple[Vector, Milliseconds]:
    """The newest sample of each series at each time, not older than `lookback` ms, and the times of these samples."""
    if not series:
        return empty(len(times)), np.empty((0, len(times)), dtype=np.int64)
    shape = (len(series), len(times))
    values, present = np.zeros(shape), np.zeros(shape, dtype=bool)
    stamps = np.zeros(shape, dtype=np.int64)
    histograms: Objects | None = None
    for row, each in enumerate(series):
        if not len(each.timestamps):
            continue
        index = np.searchsorted(each.timestamps, times, side="right") - 1
        there = index >= 0
        index = np.maximum(index, 0)
        stamps[row] = each.timestamps[index]
        values[row] = each.values[index]
        present[row] = there & (stamps[row] >= times - lookback) & ~is_stale(values[row])
        if each.histograms is not None:
            if histograms is None:
                histograms = np.full(shape, None, dtype=object)
            for step in np.flatnonzero(present[row]):
                histograms[row, step] = each.histograms[index[step]]
    kept = np.flatnonzero(present.any(axis=1))
    vector = Vector([each.labels for each in series], values, present, histograms)
    if len(kept) == len(series):
        return vector, stamps
    return vector.rows(kept), stamps[kept]


def unstale(series: Sequence[SeriesSamples]) -> list[SeriesSamples]:
    """The series without the marks of staleness; those that had nothing else are left out."""
    made = []
    for each in series:
        stale = is_stale(each.values)
        if stale.any():
            good = ~stale
            histograms = each.histograms
            if histograms is not None:
                histograms = tuple(item for item, keep in zip(histograms, good.tolist(), strict=True) if keep)
            each = SeriesSamples(each.labels, each.timestamps[good], each.values[good], histograms)
        if len(each.timestamps):
            made.append(each)
    return made


def as_series(vector: Vector, times: Milliseconds) -> list[SeriesSamples]:
    """The rows of a subquery as series with samples."""
    made = []
    for row, labels in enumerate(vector.labels):
        at = vector.present[row]
        if at.any():
            histograms = None if vector.histograms is None else tuple(vector.histograms[row, at])
            made.append(SeriesSamples(labels, times[at], vector.values[row, at], histograms))
    return made
