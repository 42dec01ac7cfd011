"""Operators on numbers: scalars with scalars, vectors with scalars, and the element-wise part of vectors with vectors.

Native histograms add and subtract, and are scaled by numbers; compared with one another they are equal or not. Every
other mix has no result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from atoll.telemetry.metrics.series import Histogram, Values
from atoll.telemetry.promql import native
from atoll.telemetry.promql.ast import Binary
from atoll.telemetry.promql.value import Mask, Objects, Vector, dropped, held


def _power(base: Values, exponent: Values) -> Values:
    """As C has it: NumPy takes the square root for 0.5, which has no answer at -Inf."""
    raised: Values = np.power(base, exponent)
    return np.where(np.isneginf(base) & (exponent == 0.5), np.inf, raised)


ARITHMETIC: Mapping[str, Callable[[Values, Values], Values]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": _power,
    "atan2": np.arctan2,
}
COMPARISON: Mapping[str, np.ufunc] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
_ON_NATIVES: Mapping[str, Callable[[Histogram, Histogram], Histogram]] = {
    "+": native.plus,
    "-": lambda left, right: native.plus(left, native.times(right, -1.0)),
}


def scalars(op: str, left: Values, right: Values) -> Values:
    """Comparisons give 1 and 0."""
    found: Values = (ARITHMETIC.get(op) or COMPARISON[op])(left, right).astype(np.float64)
    return found


def negated(vector: Vector) -> Vector:
    """A minus in front; histograms are turned over too."""
    histograms = vector.histograms
    if histograms is not None:
        histograms = _each(histograms, lambda histogram: native.times(histogram, -1.0))
    return dropped(Vector(vector.labels, -vector.values, vector.present, histograms))


def with_scalar(expr: Binary, vector: Vector, scalar: Values, *, swapped: bool) -> Vector:
    """`vector op scalar`, or `scalar op vector` when swapped. A comparison keeps the vector's samples that hold."""
    op = expr.op
    left, right = (scalar[None, :], vector.values) if swapped else (vector.values, scalar[None, :])
    if op in COMPARISON:
        holds = COMPARISON[op](left, right)
        if expr.truth:
            return dropped(Vector(vector.labels, holds.astype(np.float64), vector.floats))
        return Vector(vector.labels, vector.values, vector.floats & holds)
    made = Vector(vector.labels, ARITHMETIC[op](left, right), vector.floats)
    if vector.histograms is not None and (op == "*" or (op == "/" and not swapped)):
        made.present = vector.present
        made.histograms = np.full(vector.values.shape, None, dtype=object)
        for row, step in np.argwhere(vector.natives):
            factor = float(scalar[step]) if op == "*" else float(np.float64(1.0) / scalar[step])
            made.histograms[row, step] = native.times(vector.histograms[row, step], factor)
    return dropped(made)


def elements(op: str, left: Vector, right: Vector) -> tuple[Values, Mask, Mask, Objects | None]:
    """Row by row: the values, where a comparison holds, where there is a result at all, and histograms."""
    both = left.present & right.present
    there = left.floats & right.floats
    if op in COMPARISON:
        values, holds = left.values, COMPARISON[op](left.values, right.values)
    else:
        values, holds = ARITHMETIC[op](left.values, right.values), np.ones_like(both)
    if left.histograms is None and right.histograms is None:
        return values, holds, there, None
    return _with_natives(op, left, right, (values, holds, there))


def _with_natives(
    op: str, left: Vector, right: Vector, plain: tuple[Values, Mask, Mask]
) -> tuple[Values, Mask, Mask, Objects | None]:
    values, holds, there = plain
    holds, there = holds.copy(), there.copy()
    made = np.full(values.shape, None, dtype=object)
    natives, others = left.natives, right.natives
    for row, step in np.argwhere(left.present & right.present & (natives | others)):
        one = left.histograms[row, step] if left.histograms is not None and natives[row, step] else None
        two = right.histograms[row, step] if right.histograms is not None and others[row, step] else None
        result: Histogram | None = None
        if one is not None and two is not None:
            if op in _ON_NATIVES:
                result = _ON_NATIVES[op](one, two)
            elif op in ("==", "!="):
                holds[row, step] = native.same(one, two) is (op == "==")
                result = one
        elif one is not None and op in ("*", "/"):
            number = right.values[row, step]
            result = native.times(one, float(number if op == "*" else np.float64(1.0) / number))
        elif two is not None and op == "*":
            result = native.times(two, float(left.values[row, step]))
        if result is not None:
            there[row, step] = True
            made[row, step] = result
    return values, holds, there, made


def _each(histograms: Objects, change: Callable[[Histogram], Histogram]) -> Objects:
    made = np.full(histograms.shape, None, dtype=object)
    for place in zip(*np.nonzero(held(histograms)), strict=True):
        made[place] = change(histograms[place])
    return made
