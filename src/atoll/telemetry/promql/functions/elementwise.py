"""Functions of each number by itself: rounding, logarithms, angles, clamps. Histograms are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from atoll.telemetry.metrics.series import Values
from atoll.telemetry.promql.ast import Expr
from atoll.telemetry.promql.context import Context, Function
from atoll.telemetry.promql.value import Scalar, Vector, dropped


def _of(change: Callable[[Values], Values]) -> Function:
    def run(context: Context, args: tuple[Expr, ...]) -> Vector:
        vector = context.vector(args[0])
        return dropped(vector.with_values(change(vector.values)))

    return run


def _clamp(context: Context, args: tuple[Expr, ...]) -> Vector:
    vector = context.vector(args[0])
    least, most = context.scalar(args[1])[None, :], context.scalar(args[2])[None, :]
    made = vector.with_values(np.maximum(least, np.minimum(most, vector.values)))
    made.present = made.present & ~(most < least)
    return dropped(made)


def _bounded(bound: np.ufunc) -> Function:
    def run(context: Context, args: tuple[Expr, ...]) -> Vector:
        vector = context.vector(args[0])
        return dropped(vector.with_values(bound(vector.values, context.scalar(args[1])[None, :])))

    return run


def _round(context: Context, args: tuple[Expr, ...]) -> Vector:
    """To the nearest multiple; halves go up."""
    vector = context.vector(args[0])
    to = context.scalar(args[1]) if len(args) > 1 else np.ones(context.grid.count)
    inverse = (1.0 / to)[None, :]
    return dropped(vector.with_values(np.floor(vector.values * inverse + 0.5) / inverse))


TABLE: Mapping[str, Function] = {
    **{
        name: _of(change)
        for name, change in {
            "abs": np.abs, "ceil": np.ceil, "floor": np.floor, "exp": np.exp, "sqrt": np.sqrt, "ln": np.log,
            "log2": np.log2, "log10": np.log10, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin,
            "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
            "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "sgn": np.sign,
        }.items()
    },
    "rad": _of(lambda values: values * np.pi / 180),
    "deg": _of(lambda values: values * 180 / np.pi),
    "clamp": _clamp,
    "clamp_min": _bounded(np.maximum),
    "clamp_max": _bounded(np.minimum),
    "round": _round,
    "pi": lambda context, _: Scalar(np.full(context.grid.count, np.pi)),
}  # fmt: skip
