"""The clock and the calendar, in UTC: of the step, of samples, of numbers that are Unix seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from atoll.telemetry.metrics.series import Values
from atoll.telemetry.promql.ast import Expr, Selector, unwrapped
from atoll.telemetry.promql.context import Context, Function
from atoll.telemetry.promql.value import Scalar, Vector, dropped

Days: TypeAlias = npt.NDArray[np.datetime64]
FAR = 1e12
"""Seconds: numbers beyond, 30,000 years away, have no date."""


def _part(of: Callable[[Days], npt.NDArray[np.int64]]) -> Function:
    def run(context: Context, args: tuple[Expr, ...]) -> Vector:
        if args:
            vector = context.vector(args[0])
        else:
            seconds = (context.times // 1000).astype(np.float64)[None, :]
            vector = Vector([()], seconds, np.ones(seconds.shape, dtype=bool))
        good = np.abs(vector.values) < FAR
        instants = np.where(good, vector.values, 0.0).astype(np.int64).astype("datetime64[s]")
        values: Values = np.where(good, of(instants).astype(np.float64), np.nan)
        return dropped(vector.with_values(values))

    return run


def _since(instants: Days, unit: str, per: str) -> npt.NDArray[np.int64]:
    """Whole `unit`s since the begin of the `per` they are in."""
    found: npt.NDArray[np.int64] = (
        instants.astype(f"datetime64[{unit}]") - instants.astype(f"datetime64[{per}]").astype(f"datetime64[{unit}]")
    ).astype(np.int64)
    return found


def _days_in_month(instants: Days) -> npt.NDArray[np.int64]:
    month = instants.astype("datetime64[M]")
    days: npt.NDArray[np.int64] = ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)
    return days


def _timestamp(context: Context, args: tuple[Expr, ...]) -> Vector:
    """When the sample was taken; of anything but a selector, the step's time."""
    arg = unwrapped(args[0])
    if isinstance(arg, Selector):
        vector, stamps = context.stamped(arg)
        return dropped(Vector(vector.labels, stamps / 1000, vector.present))
    vector = context.vector(arg)
    times = np.broadcast_to(context.times / 1000, vector.values.shape)
    return dropped(Vector(vector.labels, times, vector.present))


TABLE: Mapping[str, Function] = {
    "time": lambda context, _: Scalar(context.times / 1000),
    "timestamp": _timestamp,
    "minute": _part(lambda instants: _since(instants, "m", "h")),
    "hour": _part(lambda instants: _since(instants, "h", "D")),
    "day_of_week": _part(lambda instants: (instants.astype("datetime64[D]").astype(np.int64) + 4) % 7),
    "day_of_month": _part(lambda instants: _since(instants, "D", "M") + 1),
    "day_of_year": _part(lambda instants: _since(instants, "D", "Y") + 1),
    "days_in_month": _part(_days_in_month),
    "month": _part(lambda instants: _since(instants, "M", "Y") + 1),
    "year": _part(lambda instants: instants.astype("datetime64[Y]").astype(np.int64) + 1970),
}
