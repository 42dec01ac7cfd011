"""Functions that make one number of all samples of a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from atoll.telemetry.metrics.series import Values
from atoll.telemetry.promql import order
from atoll.telemetry.promql.ast import Expr
from atoll.telemetry.promql.context import Context, Function
from atoll.telemetry.promql.value import Indexes, Mask, Objects, Vector, merged, nameless
from atoll.telemetry.promql.windows import Gathered, Windows


def without_names(windows: Windows, values: Values, present: Mask, histograms: Objects | None = None) -> Vector:
    """The vector of what was computed from windows; series that can no longer be told apart are an error."""
    made = Vector([nameless(labels) for labels in windows.labels], values, present, histograms)
    kept = np.flatnonzero(present.any(axis=1))
    return merged(made if len(kept) == len(made.labels) else made.rows(kept), strict=True)


def natives_inside(windows: Windows) -> Indexes | None:
    """How many samples of each window are histograms; None when there are none at all."""
    if windows.histograms is None:
        return None
    native = np.array([item is not None for item in windows.histograms], dtype=np.int64)
    before = np.append(0, np.cumsum(native))
    inside: Indexes = before[windows.beyond] - before[windows.first]
    return inside


def no_natives(windows: Windows) -> Mask:
    """Windows in which every sample is a number: the others have no result."""
    inside = natives_inside(windows)
    return np.ones(windows.first.shape, dtype=bool) if inside is None else inside == 0


def _passing(found: Callable[[Windows], Values]) -> Function:
    """A function of numbers that needs no copy of the windows."""

    def run(context: Context, args: tuple[Expr, ...]) -> Vector:
        windows = context.windows(args[0])
        return without_names(windows, found(windows), (windows.counts > 0) & no_natives(windows))

    return run


def gathering(
    context: Context, windows: Windows, found: Callable[[Gathered, Indexes], Values], *, least: int = 1
) -> Vector:
    """A function that needs each window by itself; `found` gets pieces and the step of each row."""
    values = np.zeros(windows.first.size)
    steps = len(windows.ends)
    for piece in windows.gathered(least):
        context.check()
        values[piece.places] = found(piece, piece.places % steps)
    shape = windows.first.shape
    return without_names(windows, values.reshape(shape), (windows.counts >= least) & no_natives(windows))


def _sum(windows: Windows) -> Values:
    return windows.reduced(np.add)


def _mean(windows: Windows) -> Values:
    found = windows.reduced(np.add) / windows.counts
    wide = np.isinf(found)
    if wide.any():
        count = np.maximum(windows.counts, 1)
        scaled = windows.reduced(np.add, windows.values / count.max()) * (count.max() / count)
        found = np.where(wide, scaled, found)
    return found


def _deviation(context: Context, args: tuple[Expr, ...], *, root: bool) -> Vector:
    def found(piece: Gathered, _: Indexes) -> Values:
        mean = np.where(piece.inside, piece.values, 0.0).sum(axis=1) / piece.counts
        around = np.where(piece.inside, piece.values - mean[:, None], 0.0)
        variance: Values = (around * around).sum(axis=1) / piece.counts
        return np.sqrt(variance) if root else variance

    return gathering(context, context.windows(args[0]), found)


def _quantile(context: Context, args: tuple[Expr, ...]) -> Vector:
    q = context.scalar(args[0])

    def found(piece: Gathered, steps: Indexes) -> Values:
        return order.quantile(q[steps], piece.values.T, piece.inside.T)

    return gathering(context, context.windows(args[1]), found)


def _mad(context: Context, args: tuple[Expr, ...]) -> Vector:
    """The median distance from the median (Prometheus 3)."""

    def found(piece: Gathered, steps: Indexes) -> Values:
        half = np.full(len(steps), 0.5)
        middle = order.quantile(half, piece.values.T, piece.inside.T)
        return order.quantile(half, np.abs(piece.values - middle[:, None]).T, piece.inside.T)

    return gathering(context, context.windows(args[0]), found)


def _last(context: Context, args: tuple[Expr, ...]) -> Vector:
    windows = context.windows(args[0])
    index = windows.beyond - 1
    _, values = windows.at(index)
    present = windows.counts > 0
    histograms: Objects | None = None
    if windows.histograms is not None:
        histograms = np.full(values.shape, None, dtype=object)
        for row, step in np.argwhere(present):
            histograms[row, step] = windows.histograms[index[row, step]]
    made = Vector(windows.labels, values, present, histograms)
    return merged(made.rows(np.flatnonzero(present.any(axis=1))))


def _first(context: Context, args: tuple[Expr, ...]) -> Vector:
    windows = context.windows(args[0])
    _, values = windows.at(windows.first)
    made = Vector(windows.labels, values, (windows.counts > 0) & no_natives(windows))
    return merged(made.rows(np.flatnonzero(made.present.any(axis=1))))


def _counted(context: Context, args: tuple[Expr, ...]) -> Vector:
    windows = context.windows(args[0])
    return without_names(windows, windows.counts.astype(np.float64), windows.counts > 0)


def _present(context: Context, args: tuple[Expr, ...]) -> Vector:
    windows = context.windows(args[0])
    return without_names(windows, np.ones(windows.first.shape), windows.counts > 0)


def _steps_between(windows: Windows, marks: Mask) -> Values:
    """How many marked samples each window has after its first."""
    if not len(marks):
        return np.zeros(windows.first.shape)
    before = np.append(0, np.cumsum(marks & ~windows.starts()))
    first = np.minimum(windows.first + 1, windows.beyond)
    counted: Values = (before[windows.beyond] - before[first]).astype(np.float64)
    return counted


def _changes(windows: Windows) -> Values:
    before = np.append(np.nan, windows.values[:-1])
    both = np.isnan(windows.values) & np.isnan(before)
    return _steps_between(windows, (windows.values != before) & ~both)


def _resets(windows: Windows) -> Values:
    return _steps_between(windows, windows.values < np.append(np.nan, windows.values[:-1]))


TABLE: Mapping[str, Function] = {
    "sum_over_time": _passing(_sum),
    "avg_over_time": _passing(_mean),
    "min_over_time": _passing(lambda windows: windows.reduced(np.fmin)),
    "max_over_time": _passing(lambda windows: windows.reduced(np.fmax)),
    "changes": _passing(_changes),
    "resets": _passing(_resets),
    "count_over_time": _counted,
    "present_over_time": _present,
    "last_over_time": _last,
    "first_over_time": _first,
    "stddev_over_time": lambda context, args: _deviation(context, args, root=True),
    "stdvar_over_time": lambda context, args: _deviation(context, args, root=False),
    "quantile_over_time": _quantile,
    "mad_over_time": _mad,
}
