"""How fast: rate, increase, delta with extrapolation to the ends of the range; irate and idelta of the last two samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from atoll.telemetry.metrics.series import Histogram, Values
from atoll.telemetry.promql import native
from atoll.telemetry.promql.ast import Expr
from atoll.telemetry.promql.context import Context, Function
from atoll.telemetry.promql.functions.over_time import natives_inside, no_natives, without_names
from atoll.telemetry.promql.value import Indexes, Vector, objects_of
from atoll.telemetry.promql.windows import Windows

EXTRAPOLATED = 1.1
"""Of the average distance between samples: up to this far the series is believed to have gone on."""


def _extrapolated(context: Context, arg: Expr, *, counter: bool, per_second: bool) -> Vector:
    windows = context.windows(arg)
    first, last = windows.first, windows.beyond - 1
    first_time, first_value = windows.at(first)
    last_time, last_value = windows.at(last)
    change = last_value - first_value
    if counter:
        change = change + _taken_by_resets(windows)
    enough = windows.counts >= 2
    factor = _factor(windows, (first_time, first_value), last_time, change if counter else None)
    if per_second:
        factor = factor / (windows.range / 1000)
    natives = natives_inside(windows)
    if natives is None:
        return without_names(windows, change * factor, enough)
    pure = natives == windows.counts  # a mix of numbers and histograms has no rate
    factor = _factor(windows, (first_time, first_value), last_time, None)
    if per_second:
        factor = factor / (windows.range / 1000)
    histograms = objects_of(
        change.shape, (((row, step), _native(context, windows, (row, step), factor, counter=counter))
                       for row, step in np.argwhere(enough & pure & (natives > 0)).tolist())
    )  # fmt: skip
    return without_names(windows, change * factor, enough & ((natives == 0) | pure), histograms)


def _factor(windows: Windows, begin: tuple[Indexes, Values], last_time: Indexes, grown: Values | None) -> Values:
    """By how much the change between first and last sample is stretched to the range."""
    first_time, first_value = begin
    to_start = (first_time - (windows.ends - windows.range)[None, :]) / 1000
    to_end = (windows.ends[None, :] - last_time) / 1000
    sampled = (last_time - first_time) / 1000
    average = sampled / (windows.counts - 1)
    if grown is not None:  # a counter was never below zero: no extrapolation past where it must have been zero
        to_zero = sampled * (first_value / grown)
        bounded = (grown > 0) & (first_value >= 0) & (to_zero < to_start)
        to_start = np.where(bounded, to_zero, to_start)
    threshold = average * EXTRAPOLATED
    stretched = sampled + np.where(to_start < threshold, to_start, average / 2)
    stretched = stretched + np.where(to_end < threshold, to_end, average / 2)
    factor: Values = stretched / sampled
    return factor


def _taken_by_resets(windows: Windows) -> Values:
    """What the counter had reached before each reset inside of a window, summed."""
    values = windows.values
    if len(values) < 2:
        return np.zeros(windows.first.shape)
    before = np.append(0.0, values[:-1])
    resets = np.flatnonzero((values < before) & ~windows.starts())
    if not len(resets):
        return np.zeros(windows.first.shape)
    begin = np.searchsorted(resets, windows.first, side="right")
    end = np.searchsorted(resets, windows.beyond - 1, side="right")
    pairs = np.stack([begin.ravel(), end.ravel()], axis=1).ravel()
    summed = np.add.reduceat(np.append(before[resets], 0.0), pairs)[::2].reshape(begin.shape)
    return np.where(end > begin, summed, 0.0)


def _native(context: Context, windows: Windows, at: tuple[int, int], factor: Values, *, counter: bool) -> Histogram:
    context.check()
    assert windows.histograms is not None
    samples = windows.histograms[windows.first[at] : windows.beyond[at]]
    kept = [sample for sample in samples if sample is not None]
    return native.times(native.increase(kept, counter=counter), float(factor[at]))


def _last_two(context: Context, arg: Expr, *, rate: bool) -> Vector:
    windows = context.windows(arg)
    time, value = windows.at(windows.beyond - 1)
    before, old = windows.at(windows.beyond - 2)
    change = np.where(rate & (value < old), value, value - old)
    apart = time - before
    if rate:
        change = change / (apart / 1000)
    return without_names(windows, change, (windows.counts >= 2) & (apart != 0) & no_natives(windows))


TABLE: Mapping[str, Function] = {
    "rate": lambda context, args: _extrapolated(context, args[0], counter=True, per_second=True),
    "increase": lambda context, args: _extrapolated(context, args[0], counter=True, per_second=False),
    "delta": lambda context, args: _extrapolated(context, args[0], counter=False, per_second=False),
    "irate": lambda context, args: _last_two(context, args[0], rate=True),
    "idelta": lambda context, args: _last_two(context, args[0], rate=False),
}
