"""Functions of histograms: classic ones, a series for each bucket with its upper bound in `le`, and native ones."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from atoll.telemetry.metrics.series import NAME, Histogram, Labels, Values
from atoll.telemetry.promql import native
from atoll.telemetry.promql.ast import Expr
from atoll.telemetry.promql.context import Context, Function
from atoll.telemetry.promql.value import Vector, dropped, each_native, joined, merged

LE = "le"
_NUMBER = re.compile(r"[+-]?(?:inf(?:inity)?|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)", re.IGNORECASE | re.ASCII)


def bucket_bound(text: str) -> float | None:
    """The number that a label `le` says, or None."""
    return float(text) if _NUMBER.fullmatch(text) else None


def _quantile(context: Context, args: tuple[Expr, ...]) -> Vector:
    q = context.scalar(args[0])
    vector = context.vector(args[1])
    groups: dict[Labels, list[tuple[float, int]]] = {}
    floats = vector.floats
    for row, labels in enumerate(vector.labels):
        bound = bucket_bound(dict(labels).get(LE, ""))
        if bound is not None and not math.isnan(bound) and floats[row].any():
            groups.setdefault(tuple(pair for pair in labels if pair[0] != LE), []).append((bound, row))
    under: list[Labels] = []
    values, present = [], []
    for key, found in groups.items():
        found.sort()
        rows = [row for _, row in found]
        under.append(tuple(pair for pair in key if pair[0] != NAME))
        bounds = np.array([bound for bound, _ in found])
        values.append(_classic(q, bounds, vector.values[rows], floats[rows]))
        present.append(floats[rows].any(axis=0))
    steps = context.grid.count
    made = Vector(
        under, np.array(values).reshape(len(under), steps), np.array(present, dtype=bool).reshape(len(under), steps)
    )
    if vector.histograms is None:
        return merged(made)
    return merged(joined([made, _native_quantiles(q, vector, groups)], steps))


def _native_quantiles(q: Values, vector: Vector, classic: Mapping[Labels, list[tuple[float, int]]]) -> Vector:
    """Of native histograms; beside classic buckets of the same labels neither has an answer, the classic one is kept."""
    natives = vector.natives
    assert vector.histograms is not None
    values = np.zeros(vector.values.shape)
    for row, step in np.argwhere(natives):
        values[row, step] = native.quantile(float(q[step]), vector.histograms[row, step])
    for row, labels in enumerate(vector.labels):
        if labels in classic:
            both = vector.floats[[other for _, other in classic[labels]]].any(axis=0)
            natives[row] &= ~both
    made = Vector(vector.labels, values, natives)
    return dropped(made.rows(np.flatnonzero(natives.any(axis=1))))


def _classic(
    q: Values, bounds: Values, counts: Values, present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> Values:
    """The quantile at each step; steps with the same buckets are done together."""
    if present.all():
        return _interpolated(q, bounds, counts)
    values = np.full(len(q), np.nan)
    patterns, which = np.unique(present, axis=1, return_inverse=True)
    for at in range(patterns.shape[1]):
        rows, steps = patterns[:, at], np.flatnonzero(which.ravel() == at)
        if rows.any():
            values[steps] = _interpolated(q[steps], bounds[rows], counts[np.ix_(rows, steps)])
    return values


def _interpolated(q: Values, bounds: Values, counts: Values) -> Values:
    outside = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, np.nan))
    if bounds[-1] != np.inf:
        return outside
    first = (
        np.flatnonzero(np.diff(bounds, prepend=-np.inf) != 0)
        if bounds[0] != -np.inf
        else np.unique(bounds, return_index=True)[1]
    )
    bounds, counts = bounds[first], np.add.reduceat(counts, first, axis=0)
    counts = np.fmax.accumulate(counts, axis=0)
    if len(bounds) < 2:
        return outside
    total = counts[-1]
    rank = q * total
    at = (~(counts[:-1] >= rank[None, :])).sum(axis=0)  # NaN is no answer to "enough?"
    last = at == len(bounds) - 1
    inner = np.minimum(at, len(bounds) - 2)
    steps = np.arange(len(q))
    below = np.maximum(inner - 1, 0)
    start = np.where(inner > 0, bounds[below], 0.0)
    before = np.where(inner > 0, counts[below, steps], 0.0)
    found = start + (bounds[inner] - start) * ((rank - before) / (counts[inner, steps] - before))
    if bounds[0] <= 0:
        found = np.where(inner == 0, bounds[0], found)
    found = np.where(last, bounds[-2], found)
    good = (q >= 0) & (q <= 1)
    return np.where(good, np.where(total == 0, np.nan, found), outside)


def _fraction(context: Context, args: tuple[Expr, ...]) -> Vector:
    lower, upper = context.scalar(args[0]), context.scalar(args[1])
    vector = context.vector(args[2])
    there = vector.natives
    values = np.zeros(vector.values.shape)
    if vector.histograms is not None:
        for row, step in np.argwhere(there):
            values[row, step] = native.fraction(float(lower[step]), float(upper[step]), vector.histograms[row, step])
    return dropped(Vector(vector.labels, values, there))


def _mean(histogram: Histogram) -> float:
    return histogram.sum / histogram.count if histogram.count else math.nan


TABLE: Mapping[str, Function] = {
    "histogram_quantile": _quantile,
    "histogram_fraction": _fraction,
    "histogram_count": lambda context, args: dropped(each_native(context.vector(args[0]), lambda each: each.count)),
    "histogram_sum": lambda context, args: dropped(each_native(context.vector(args[0]), lambda each: each.sum)),
    "histogram_avg": lambda context, args: dropped(each_native(context.vector(args[0]), _mean)),
}
