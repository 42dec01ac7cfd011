"""Windows over samples: the one data structure under every function of a range vector.

All samples of all series stand in one long array; a window is a pair of indexes into it, one for each series and step.
What can be answered from the ends of a window, or by one pass of NumPy over it, needs no copy of its samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from atoll.telemetry.metrics.series import Histogram, Labels, Milliseconds, Values
from atoll.telemetry.promql.value import Indexes, Mask, Matrix

GATHERED = 2_000_000
"""Samples that are copied at once for functions that need every window by itself."""


@dataclass(eq=False)
class Windows:
    """`first` and `beyond` (series × steps) are indexes into `times` and `values`; equal when there is no sample."""

    labels: list[Labels]
    ends: Milliseconds
    range: int
    times: Milliseconds
    values: Values
    histograms: list[Histogram | None] | None
    first: Indexes
    beyond: Indexes
    offsets: Indexes
    """Index of the first sample of each series."""

    @property
    def counts(self) -> Indexes:
        """Samples of each window."""
        return self.beyond - self.first

    def starts(self) -> Mask:
        """Which samples are the first of their series."""
        mask: Mask = np.zeros(len(self.times) + 1, dtype=bool)
        mask[self.offsets] = True
        return mask[:-1]

    def reduced(self, ufunc: np.ufunc, values: Values | None = None) -> Values:
        """`ufunc` over the samples of each window; meaningless where a window is empty."""
        data = self.values if values is None else values
        if not len(data):
            return np.zeros(self.first.shape)
        padded = np.append(data, 0.0)
        pairs = np.empty(2 * self.first.size, dtype=np.int64)
        pairs[0::2] = self.first.ravel()
        pairs[1::2] = self.beyond.ravel()
        found: Values = ufunc.reduceat(padded, pairs)[::2].reshape(self.first.shape)
        return found

    def at(self, index: Indexes) -> tuple[Milliseconds, Values]:
        """Times and values at indexes; those outside become the nearest (of windows that do not count)."""
        if not len(self.times):
            return np.zeros(index.shape, dtype=np.int64), np.zeros(index.shape)
        index = np.clip(index, 0, len(self.times) - 1)
        return self.times[index], self.values[index]

    def gathered(self, least: int = 1) -> Iterator[Gathered]:
        """Every window with at least `least` samples by itself, in pieces of bounded size."""
        counts = self.counts.ravel()
        places = np.flatnonzero(counts >= least)
        order = places[np.argsort(counts[places], kind="stable")]
        at = 0
        while at < len(order):
            piece = order[at : at + max(1, GATHERED // int(counts[order[at]]))]
            width = int(counts[piece[-1]])
            piece = piece[: max(1, GATHERED // width)]
            width = int(counts[piece[-1]])
            index = self.first.ravel()[piece][:, None] + np.arange(width)[None, :]
            inside = np.arange(width)[None, :] < counts[piece][:, None]
            index = np.where(inside, index, self.first.ravel()[piece][:, None])
            yield Gathered(piece, counts[piece], self.times[index], self.values[index], inside)
            at += len(piece)


@dataclass(eq=False)
class Gathered:
    """Windows as rows: `inside` says which columns are samples; the others repeat the first one."""

    places: Indexes
    """Index of each row's window in series × steps, flattened."""
    counts: Indexes
    times: Milliseconds
    values: Values
    inside: Mask


def windows_of(matrix: Matrix) -> Windows:
    """The windows of a matrix at each of its ends."""
    lengths = np.array([len(each.timestamps) for each in matrix.series], dtype=np.int64)
    offsets = (
        np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)]) if len(lengths) else np.zeros(1, np.int64)
    )
    shape = (len(matrix.series), len(matrix.ends))
    first, beyond = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
    begins = matrix.ends - matrix.range
    for row, each in enumerate(matrix.series):
        first[row] = np.searchsorted(each.timestamps, begins, side="left") + offsets[row]
        beyond[row] = np.searchsorted(each.timestamps, matrix.ends, side="right") + offsets[row]
    histograms: list[Histogram | None] | None = None
    if any(each.histograms is not None for each in matrix.series):
        histograms = []
        for each in matrix.series:
            histograms.extend(each.histograms or (None,) * len(each.timestamps))
    return Windows(
        [each.labels for each in matrix.series],
        matrix.ends,
        matrix.range,
        np.concatenate([each.timestamps for each in matrix.series]) if matrix.series else np.empty(0, dtype=np.int64),
        np.concatenate([each.values for each in matrix.series]) if matrix.series else np.empty(0),
        histograms,
        first,
        beyond,
        offsets[:-1],
    )
