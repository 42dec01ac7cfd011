"""From vectors to scalars and back, what is missing, and the order of an answer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from atoll.telemetry.metrics.series import NAME, Labels, Op
from atoll.telemetry.promql.ast import Expr, Range, Selector, unwrapped
from atoll.telemetry.promql.context import Context, Function
from atoll.telemetry.promql.order import ranked
from atoll.telemetry.promql.value import Mask, Scalar, Vector, empty


def _absent_labels(expr: Expr) -> Labels:
    """The labels that the selector asks for exactly once by `=`."""
    expr = unwrapped(expr)
    selector = expr.selector if isinstance(expr, Range) else expr
    if not isinstance(selector, Selector):
        return ()
    found: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in selector.matchers:
        if matcher.name == NAME:
            continue
        if matcher.op is Op.EQUAL and matcher.name not in seen:
            found[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            found.pop(matcher.name, None)
    return tuple(sorted((name, value) for name, value in found.items() if value))


def _absent(context: Context, arg: Expr, present: Mask) -> Vector:
    missing = ~np.asarray(present.any(axis=0))
    if not missing.any():
        return empty(context.grid.count)
    return Vector([_absent_labels(arg)], np.ones((1, context.grid.count)), missing[None, :])


def _scalar(context: Context, args: tuple[Expr, ...]) -> Scalar:
    """The one number, NaN when there is none or are several."""
    vector = context.vector(args[0])
    there = vector.floats
    one = there.sum(axis=0) == 1
    return Scalar(np.where(one, np.where(there, vector.values, 0.0).sum(axis=0), np.nan))


def _vector(context: Context, args: tuple[Expr, ...]) -> Vector:
    values = context.scalar(args[0])[None, :]
    return Vector([()], values, np.ones(values.shape, dtype=bool))


def _sorted(context: Context, args: tuple[Expr, ...], *, descending: bool) -> Vector:
    """By value, NaN at the end; over several steps there is no such order."""
    vector = context.vector(args[0])
    vector = Vector(vector.labels, vector.values, vector.floats)
    if context.grid.count > 1:
        return vector
    order = ranked(-vector.values if descending else vector.values, vector.present, nan_last=True)[:, 0]
    return vector.rows(order)


def _by_label(context: Context, args: tuple[Expr, ...], *, descending: bool) -> Vector:
    vector = context.vector(args[0])
    if context.grid.count > 1:
        return vector
    names = [context.text(arg) for arg in args[1:]]
    keys = [(*(dict(labels).get(name, "") for name in names), labels) for labels in vector.labels]
    return vector.rows(sorted(range(len(keys)), key=keys.__getitem__, reverse=descending))


TABLE: Mapping[str, Function] = {
    "absent": lambda context, args: _absent(context, args[0], context.vector(args[0]).present),
    "absent_over_time": lambda context, args: _absent(context, args[0], context.windows(args[0]).counts > 0),
    "scalar": _scalar,
    "vector": _vector,
    "sort": lambda context, args: _sorted(context, args, descending=False),
    "sort_desc": lambda context, args: _sorted(context, args, descending=True),
    "sort_by_label": lambda context, args: _by_label(context, args, descending=False),
    "sort_by_label_desc": lambda context, args: _by_label(context, args, descending=True),
}
