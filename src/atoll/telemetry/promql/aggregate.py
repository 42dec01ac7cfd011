"""Aggregations: many series made few, step by step, over groups of equal labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from atoll.telemetry.metrics.series import NAME, Histogram, Labels, Values
from atoll.telemetry.promql import native
from atoll.telemetry.promql.ast import Aggregate, Text, unwrapped
from atoll.telemetry.promql.context import Context
from atoll.telemetry.promql.number import plain
from atoll.telemetry.promql.order import quantile, ranked
from atoll.telemetry.promql.refusal import EvaluationError
from atoll.telemetry.promql.value import Indexes, Mask, Objects, Vector, empty, joined, merged

COUNT_VALUES_LIMIT = 100_000
"""Distinct values that count_values makes series of."""


@dataclass(eq=False)
class Groups:
    """The rows of a vector in order of their groups."""

    labels: list[Labels]
    order: Indexes
    starts: Indexes

    def reduced(self, ufunc: np.ufunc, data: Values) -> Values:
        """`ufunc` down the rows of each group."""
        found: Values = ufunc.reduceat(data[self.order], self.starts, axis=0)
        return found

    def any(self, there: Mask) -> Mask:
        """Whether any row of a group is there."""
        found: Mask = np.logical_or.reduceat(there[self.order], self.starts, axis=0)
        return found

    def members(self) -> list[Indexes]:
        """The rows of each group."""
        return np.split(self.order, self.starts[1:])


def groups_of(vector: Vector, expr: Aggregate) -> Groups:
    """By the labels that are named, or without them and the metric's name."""
    names = frozenset(expr.labels)
    if expr.without:
        names |= {NAME}
        keys = [tuple(pair for pair in labels if pair[0] not in names) for labels in vector.labels]
    elif names:
        keys = [tuple(pair for pair in labels if pair[0] in names) for labels in vector.labels]
    else:
        keys = [()] * len(vector.labels)
    known: dict[Labels, int] = {}
    group = np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return Groups(list(known), order, starts)


def aggregate(context: Context, expr: Aggregate) -> Vector:
    """The value of an aggregation.

    Raises:
        EvaluationError: k is no integer, or the label's name is none.
    """
    param = None if expr.param is None or isinstance(unwrapped(expr.param), Text) else context.scalar(expr.param)
    vector = context.vector(expr.expr)
    if expr.op == "count_values":
        assert expr.param is not None
        return _count_values(context, expr, vector, context.text(expr.param))
    if not vector.labels:
        return empty(context.grid.count)
    groups = groups_of(vector, expr)
    if expr.op in ("topk", "bottomk", "limitk"):
        assert param is not None
        return _chosen(expr.op, groups, vector, _count(param))
    if expr.op in ("sum", "avg"):
        return _sum(expr.op, groups, vector)
    there = vector.present if expr.op in ("count", "group") else vector.floats
    present = groups.any(there)
    if expr.op == "quantile":
        assert param is not None
        found = [quantile(param, vector.values[rows], there[rows]) for rows in groups.members()]
        return Vector(groups.labels, np.array(found), present)
    return Vector(groups.labels, _SIMPLE[expr.op](groups, vector.values, there), present)


def _filled(values: Values, there: Mask, neutral: float) -> Values:
    return np.where(there, values, neutral)


def _counts(groups: Groups, _: Values, there: Mask) -> Values:
    return groups.reduced(np.add, there.astype(np.float64))


def _deviations(groups: Groups, values: Values, there: Mask) -> Values:
    """The variance of each group, in two passes."""
    count = _counts(groups, values, there)
    mean = groups.reduced(np.add, _filled(values, there, 0.0)) / count
    sizes = np.diff(np.append(groups.starts, len(groups.order)))
    around = np.empty_like(values)
    around[groups.order] = np.repeat(mean, sizes, axis=0)
    return groups.reduced(np.add, _filled((values - around) ** 2, there, 0.0)) / count


_SIMPLE: Mapping[str, Callable[[Groups, Values, Mask], Values]] = {
    "count": _counts,
    "group": lambda groups, values, _: np.ones((len(groups.labels), values.shape[1])),
    "min": lambda groups, values, there: groups.reduced(np.fmin, _filled(values, there, math.nan)),
    "max": lambda groups, values, there: groups.reduced(np.fmax, _filled(values, there, math.nan)),
    "stdvar": _deviations,
    "stddev": lambda groups, values, there: np.sqrt(_deviations(groups, values, there)),
}


def _sum(op: str, groups: Groups, vector: Vector) -> Vector:
    floats = vector.floats
    count = groups.reduced(np.add, floats.astype(np.float64))
    values = groups.reduced(np.add, _filled(vector.values, floats, 0.0))
    if op == "avg":
        values = values / count
        wide = np.isinf(values) & ~groups.any(floats & np.isinf(vector.values))
        if wide.any():  # the sum is beyond what a number holds, the mean is not
            size = np.maximum(1.0, count.max())
            scaled = groups.reduced(np.add, _filled(vector.values / size, floats, 0.0))
            values = np.where(wide, scaled * (size / count), values)
    if vector.histograms is None:
        return Vector(groups.labels, values, count > 0)
    natives = groups.reduced(np.add, vector.natives.astype(np.float64))
    present = (count > 0) ^ (natives > 0)  # a mix of both has no sum
    histograms: Objects = np.full(values.shape, None, dtype=object)
    for row, members in enumerate(groups.members()):
        for step in np.flatnonzero(present[row] & (natives[row] > 0)):
            total: Histogram | None = None
            for member in members:
                each = vector.histograms[member, step] if vector.present[member, step] else None
                if each is not None:
                    total = each if total is None else native.plus(total, each)
            if total is not None and op == "avg":
                total = native.times(total, 1.0 / float(natives[row, step]))
            histograms[row, step] = total
    return Vector(groups.labels, values, present, histograms)


def _count(param: Values) -> Indexes:
    if not (np.isfinite(param).all() and (np.abs(param) < 2.0**63).all()):
        wrong = param[~(np.isfinite(param) & (np.abs(param) < 2.0**63))][0]
        raise EvaluationError(f"Scalar value {plain(float(wrong))} overflows int64")
    counts: Indexes = param.astype(np.int64)
    return counts


def _chosen(op: str, groups: Groups, vector: Vector, count: Indexes) -> Vector:
    """The k best of each group at each step, under their own labels; the best first when there is one step."""
    kept, present = [], vector.present.copy()
    there = vector.present if op == "limitk" else vector.floats
    for rows in groups.members():
        block, at = vector.values[rows], there[rows]
        if op == "limitk":
            order = np.argsort(~at, axis=0, kind="stable")
        else:
            order = ranked(-block if op == "topk" else block, at, nan_last=True)
        place = np.empty_like(order)
        np.put_along_axis(place, order, np.arange(len(rows))[:, None] + np.zeros_like(order), axis=0)
        present[rows] = at & (place < count[None, :])
        kept.append(rows[order[:, 0]] if vector.values.shape[1] == 1 else rows)
    index = np.concatenate(kept)
    made = Vector(vector.labels, vector.values, present, vector.histograms).rows(index)
    return made.rows(np.flatnonzero(made.present.any(axis=1)))


def _count_values(context: Context, expr: Aggregate, vector: Vector, label: str) -> Vector:
    if not _is_label(label):
        raise EvaluationError(f'invalid label name "{label}"')
    steps = context.grid.count
    rows: list[Labels] = []
    places: list[Mask] = []
    floats = vector.floats
    for row, labels in enumerate(vector.labels):
        others = tuple(pair for pair in labels if pair[0] != label)
        for value in np.unique(vector.values[row, floats[row]]).tolist():
            with_value = tuple(sorted((*others, (label, plain(value)))))
            held = np.isnan(vector.values[row]) if math.isnan(value) else vector.values[row] == value
            rows.append(with_value)
            places.append(floats[row] & held)
        if len(rows) > COUNT_VALUES_LIMIT or len(rows) * steps > COUNT_VALUES_LIMIT * 100:
            raise EvaluationError("count_values found too many distinct values")
        context.check()
    if not rows:
        return empty(steps)
    names = expr.labels if expr.without else (*expr.labels, label)
    counted = Vector(rows, np.zeros((len(rows), steps)), np.array(places))
    groups = groups_of(counted, Aggregate("count", expr.expr, None, tuple(names), expr.without))
    count = _counts(groups, counted.values, counted.present)
    return merged(joined([Vector(groups.labels, count, count > 0)], steps))


def _is_label(name: str) -> bool:
    return name.isascii() and name.isidentifier()
