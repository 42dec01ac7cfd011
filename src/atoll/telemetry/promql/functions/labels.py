"""label_replace and label_join: other labels, same samples."""

from __future__ import annotations

import re
from collections.abc import Mapping

from atoll.telemetry.metrics.series import Labels
from atoll.telemetry.promql.ast import Expr
from atoll.telemetry.promql.context import Context, Function
from atoll.telemetry.promql.refusal import EvaluationError
from atoll.telemetry.promql.regex import replacer
from atoll.telemetry.promql.value import Vector, merged

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def _with(labels: Labels, name: str, value: str) -> Labels:
    others = [pair for pair in labels if pair[0] != name]
    return tuple(sorted([*others, (name, value)])) if value else tuple(others)


def _relabelled(vector: Vector, labels: list[Labels]) -> Vector:
    return merged(Vector(labels, vector.values, vector.present, vector.histograms))


def _replace(context: Context, args: tuple[Expr, ...]) -> Vector:
    vector = context.vector(args[0])
    target, template, source, pattern = (context.text(arg) for arg in args[1:])
    try:
        replaced = replacer(pattern, template)
    except ValueError:
        raise EvaluationError(f"invalid regular expression in label_replace(): {pattern}") from None
    if not _NAME.fullmatch(target):
        raise EvaluationError(f"invalid destination label name in label_replace(): {target}")
    made = []
    for labels in vector.labels:
        value = replaced(dict(labels).get(source, ""))
        made.append(labels if value is None else _with(labels, target, value))
    return _relabelled(vector, made)


def _join(context: Context, args: tuple[Expr, ...]) -> Vector:
    vector = context.vector(args[0])
    target, separator, *sources = (context.text(arg) for arg in args[1:])
    for source in sources:
        if not _NAME.fullmatch(source):
            raise EvaluationError(f"invalid source label name in label_join(): {source}")
    if not _NAME.fullmatch(target):
        raise EvaluationError(f"invalid destination label name in label_join(): {target}")
    made = []
    for labels in vector.labels:
        known = dict(labels)
        made.append(_with(labels, target, separator.join(known.get(source, "") for source in sources)))
    return _relabelled(vector, made)


TABLE: Mapping[str, Function] = {"label_replace": _replace, "label_join": _join}
