"""Vector matching: which series of the left side meet which of the right, and under which labels the result stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from atoll.telemetry.metrics.series import NAME, Labels
from atoll.telemetry.promql import arithmetic
from atoll.telemetry.promql.ast import Binary, Card, Matching
from atoll.telemetry.promql.refusal import EvaluationError
from atoll.telemetry.promql.value import Vector, empty, joined, merged

Signature = Callable[[Labels], Labels]


def signature(matching: Matching) -> Signature:
    """The part of labels that must be equal for two series to meet."""
    names = frozenset(matching.labels)
    if matching.on:
        return lambda labels: tuple(pair for pair in labels if pair[0] in names)
    names |= {NAME}
    return lambda labels: tuple(pair for pair in labels if pair[0] not in names)


def sets(op: str, left: Vector, right: Vector, matching: Matching) -> Vector:
    """`and`, `or`, `unless`.

    Raises:
        EvaluationError: `or` has two series of equal labels.
    """
    of = signature(matching)
    steps = left.values.shape[1]
    keep, ask = (left, right) if op != "or" else (right, left)
    seen: dict[Labels, list[int]] = {}
    for row, labels in enumerate(ask.labels):
        seen.setdefault(of(labels), []).append(row)
    present = np.zeros_like(keep.present)
    for row, labels in enumerate(keep.labels):
        rows = seen.get(of(labels))
        other = ask.present[rows].any(axis=0) if rows else np.zeros(steps, dtype=bool)
        present[row] = keep.present[row] & (other if op == "and" else ~other)
    kept = Vector(keep.labels, keep.values, present, keep.histograms).rows(np.flatnonzero(present.any(axis=1)))
    return kept if op != "or" else merged(joined([left, kept], steps))


def vectors(expr: Binary, left: Vector, right: Vector) -> Vector:
    """An operator between vectors that are matched one to one, or many to one.

    Raises:
        EvaluationError: the matching is not unique at some step.
    """
    matching = expr.matching
    swapped = matching.card is Card.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    of = signature(matching)
    groups: dict[Labels, list[int]] = {}
    for row, labels in enumerate(one.labels):
        groups.setdefault(of(labels), []).append(row)
    _unique(groups, many, one, "left" if swapped else "right")
    pairs: list[tuple[int, int]] = []
    signatures: list[Labels] = []
    for row, labels in enumerate(many.labels):
        group = of(labels)
        for other in groups.get(group, ()):
            pairs.append((row, other))
            signatures.append(group)
    if not pairs:
        return empty(left.values.shape[1])
    met = many.rows([row for row, _ in pairs]), one.rows([row for _, row in pairs])
    values, holds, there, histograms = arithmetic.elements(expr.op, *(reversed(met) if swapped else met))
    if expr.truth:
        values, present, histograms = holds.astype(np.float64), there, None
    else:
        present = there & holds
    if matching.card is Card.ONE_TO_ONE:
        _once(signatures, present)
    under = [_result(many.labels[row], one.labels[other], expr) for row, other in pairs]
    made = Vector(under, values, present, histograms)
    error = "multiple matches for labels: grouping labels must ensure unique matches"
    return merged(made) if matching.card is Card.ONE_TO_ONE else merged(made, error=error)


def _unique(groups: dict[Labels, list[int]], many: Vector, one: Vector, side: str) -> None:
    """Refuse two series of the one side that meet the same others, at any step at which there are others."""
    for group, rows in groups.items():
        if len(rows) > 1:
            asked = np.asarray(many.present.any(axis=0))
            together = one.present[rows] & asked[None, :]
            clash = np.flatnonzero(together.sum(axis=0) > 1)
            if len(clash):
                first, second = [rows[at] for at in np.flatnonzero(together[:, clash[0]])[:2]]
                raise EvaluationError(
                    f"found duplicate series for the match group {shown(group)} on the {side} hand-side of the "
                    f"operation: [{shown(one.labels[second])}, {shown(one.labels[first])}];many-to-many matching not "
                    "allowed: matching labels must be unique on one side"
                )


def _once(signatures: Sequence[Labels], present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    rows: dict[Labels, list[int]] = {}
    for row, group in enumerate(signatures):
        rows.setdefault(group, []).append(row)
    for same in rows.values():
        if len(same) > 1 and (present[same].sum(axis=0) > 1).any():
            raise EvaluationError(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )


def _result(many: Labels, one: Labels, expr: Binary) -> Labels:
    matching = expr.matching
    kept = dict(many)
    if expr.op in arithmetic.ARITHMETIC or expr.truth:
        kept.pop(NAME, None)
    if matching.card is Card.ONE_TO_ONE:
        if matching.on:
            kept = {name: value for name, value in kept.items() if name in matching.labels}
        else:
            kept = {name: value for name, value in kept.items() if name not in matching.labels}
    if matching.include:
        given = dict(one)
        for name in matching.include:
            kept.pop(name, None)
            if given.get(name):
                kept[name] = given[name]
    return tuple(sorted(kept.items()))


def shown(labels: Labels) -> str:
    """Labels as Prometheus writes them."""
    inside = ", ".join(f"{name}={quoted(value)}" for name, value in labels)
    return "{" + inside + "}"


def quoted(text: str) -> str:
    """A string in double quotes, escaped."""
    escaped = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escaped.get(c, c if c.isprintable() else f"\\u{ord(c):04x}") for c in text) + '"'
