"""Order among the samples of one step: ranks and quantiles, with NaN where Prometheus has it."""

from __future__ import annotations

import numpy as np

from atoll.telemetry.metrics.series import Values
from atoll.telemetry.promql.value import Indexes, Mask


def ranked(values: Values, present: Mask, *, nan_last: bool) -> Indexes:
    """For each column the rows from the least value to the greatest; absent ones at the end; NaN first or last."""
    nan = np.isnan(values)
    kind = np.where(present, np.where(nan, 1 if nan_last else -1, 0), 2)
    order: Indexes = np.lexsort((np.where(nan, 0.0, values), kind), axis=0)
    return order


def quantile(q: Values, values: Values, present: Mask) -> Values:
    """The φ-quantile of each column, between two samples by their distance; NaN counts as least.

    NaN for φ = NaN or a column without samples; infinite for φ outside of 0..1.
    """
    count = present.sum(axis=0)
    ordered = np.take_along_axis(values, ranked(values, present, nan_last=False), axis=0)
    rank = np.where((q >= 0) & (q <= 1), q, 0.0) * (count - 1)
    floor = np.floor(rank)
    lower = np.maximum(0, floor).astype(np.int64)
    upper = np.maximum(0, np.minimum(count - 1, lower + 1)).astype(np.int64)
    weight = rank - floor
    low = np.take_along_axis(ordered, lower[None, :], axis=0)[0]
    high = np.take_along_axis(ordered, upper[None, :], axis=0)[0]
    found: Values = low * (1 - weight) + high * weight
    found = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, found))
    return np.where(np.isnan(q) | (count == 0), np.nan, found)
