"""Where it goes: deriv and predict_linear by least squares, holt_winters by double exponential smoothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from atoll.telemetry.metrics.series import Milliseconds, Values
from atoll.telemetry.promql.ast import Expr
from atoll.telemetry.promql.context import Context, Function
from atoll.telemetry.promql.functions.over_time import gathering
from atoll.telemetry.promql.refusal import EvaluationError
from atoll.telemetry.promql.value import Indexes, Vector
from atoll.telemetry.promql.windows import Gathered


def _line(piece: Gathered, origin: Milliseconds) -> tuple[Values, Values]:
    """Slope per second and value at `origin` of the line through each window; a flat window is flat exactly."""
    x = np.where(piece.inside, (piece.times - origin[:, None]) / 1000, 0.0)
    y = np.where(piece.inside, piece.values, 0.0)
    count = piece.counts.astype(np.float64)
    mean_x, mean_y = x.sum(axis=1) / count, y.sum(axis=1) / count
    around = np.where(piece.inside, x - mean_x[:, None], 0.0)
    slope = (around * np.where(piece.inside, y - mean_y[:, None], 0.0)).sum(axis=1) / (around * around).sum(axis=1)
    flat = (~piece.inside | (piece.values == piece.values[:, :1])).all(axis=1)
    level = piece.values[:, 0]
    slope = np.where(flat, np.where(np.isinf(level), np.nan, 0.0), slope)
    at_origin = np.where(flat, np.where(np.isinf(level), np.nan, level), mean_y - slope * mean_x)
    return slope, at_origin


def _deriv(context: Context, args: tuple[Expr, ...]) -> Vector:
    return gathering(context, context.windows(args[0]), lambda piece, _: _line(piece, piece.times[:, 0])[0], least=2)


def _predict(context: Context, args: tuple[Expr, ...]) -> Vector:
    ahead = context.scalar(args[1])

    def found(piece: Gathered, steps: Indexes) -> Values:
        slope, now = _line(piece, context.times[steps])
        return slope * ahead[steps] + now

    return gathering(context, context.windows(args[0]), found, least=2)


def _smoothed(context: Context, args: tuple[Expr, ...]) -> Vector:
    smoothing, trend = context.scalar(args[1]), context.scalar(args[2])
    for name, factor in (("smoothing", smoothing), ("trend", trend)):
        wrong = (factor <= 0) | (factor >= 1)
        if wrong.any():
            raise EvaluationError(f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, got: {factor[wrong][0]:f}")

    def found(piece: Gathered, steps: Indexes) -> Values:
        values, sf, tf = piece.values, smoothing[steps], trend[steps]
        before = np.zeros(len(values))
        level, slope = values[:, 0].copy(), values[:, 1] - values[:, 0]
        for at in range(1, values.shape[1]):
            inside = piece.inside[:, at]
            if at > 1:
                slope = np.where(inside, tf * (level - before) + (1 - tf) * slope, slope)
            following = sf * values[:, at] + (1 - sf) * (level + slope)
            before, level = np.where(inside, level, before), np.where(inside, following, level)
        return level

    return gathering(context, context.windows(args[0]), found, least=2)


TABLE: Mapping[str, Function] = {
    "deriv": _deriv,
    "predict_linear": _predict,
    "holt_winters": _smoothed,
    "double_exponential_smoothing": _smoothed,
}
