"""Expressions as text, laid out as Prometheus' `format_query` does: on one line up to 100 characters, else indented."""

from __future__ import annotations

import re

from atoll.telemetry.metrics.series import NAME, Matcher, Op
from atoll.telemetry.promql import ast
from atoll.telemetry.promql.ast import At, Card, Edge, Expr
from atoll.telemetry.promql.match import quoted
from atoll.telemetry.promql.number import literal

WIDTH = 100
"""Characters of a line that is not broken."""
INDENT = "  "
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_UNITS = ((31_536_000_000, "y"), (604_800_000, "w"), (86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"),
          (1, "ms"))  # fmt: skip


def pretty(expr: Expr, level: int = 0) -> str:
    """The expression with its parts indented where a line would be too long."""
    line, margin = text(expr), INDENT * level
    if isinstance(expr, ast.Negative):
        return f"{margin}-{pretty(expr.expr, level).strip()}"
    if isinstance(expr, ast.Subquery) and len(line) > WIDTH:
        return pretty(expr.expr, level) + _times(expr)
    if len(line) <= WIDTH:
        return margin + line
    match expr:
        case ast.Aggregate():
            param = "" if expr.param is None else pretty(expr.param, level + 1) + ",\n"
            return f"{margin}{_grouping(expr)}(\n{param}{pretty(expr.expr, level + 1)}\n{margin})"
        case ast.Binary():
            return f"{pretty(expr.left, level + 1)}\n{margin}{_operator(expr)}\n{pretty(expr.right, level + 1)}"
        case ast.Call():
            args = ",\n".join(pretty(arg, level + 1) for arg in expr.args)
            return f"{margin}{expr.function}(\n{args}\n{margin})"
        case ast.Paren():
            return f"{margin}(\n{pretty(expr.expr, level + 1)}\n{margin})"
        case _:
            return margin + line


def text(expr: Expr) -> str:
    """The expression on one line."""
    match expr:
        case ast.Number():
            return literal(expr.value)
        case ast.Text():
            return quoted(expr.value)
        case ast.Selector():
            return _series(expr) + _nailed(expr.at, expr.offset)
        case ast.Range():
            selector = expr.selector
            return f"{_series(selector)}[{duration(expr.range)}]{_nailed(selector.at, selector.offset)}"
        case ast.Subquery():
            return text(expr.expr) + _times(expr)
        case ast.Call():
            return f"{expr.function}({', '.join(map(text, expr.args))})"
        case ast.Aggregate():
            param = "" if expr.param is None else text(expr.param) + ", "
            return f"{_grouping(expr)}({param}{text(expr.expr)})"
        case ast.Binary():
            return f"{text(expr.left)} {_operator(expr)} {text(expr.right)}"
        case ast.Negative():
            return f"-{text(expr.expr)}"
        case ast.Paren():
            return f"({text(expr.expr)})"


def duration(milliseconds: int) -> str:
    """As Prometheus writes one: 1h30m; years and weeks only when nothing is left over."""
    if milliseconds == 0:
        return "0s"
    said, rest = "", milliseconds
    for size, unit in _UNITS:
        if unit in ("y", "w") and rest % size:
            continue
        if rest >= size:
            said += f"{rest // size}{unit}"
            rest %= size
    return said


def _series(selector: ast.Selector) -> str:
    name = next((one.value for one in selector.matchers if one.name == NAME and one.op is Op.EQUAL), "")
    named = Matcher(NAME, Op.EQUAL, name)
    others = sorted(_matcher(one) for one in selector.matchers if one != named)
    if name and not _METRIC.fullmatch(name):  # a name of Prometheus 3 stands in quotes among the matchers
        others.insert(0, quoted(name))
        name = ""
    return name + ("{" + ",".join(others) + "}" if others else "")


def _matcher(one: Matcher) -> str:
    name = one.name if _LABEL.fullmatch(one.name) else quoted(one.name)
    return f"{name}{one.op.value}{quoted(one.value)}"


def _times(expr: ast.Subquery) -> str:
    step = "" if expr.step is None else duration(expr.step)
    return f"[{duration(expr.range)}:{step}]{_nailed(expr.at, expr.offset)}"


def _nailed(at: At, offset: int) -> str:
    said = ""
    if isinstance(at, Edge):
        said += f" @ {at.value}"
    elif at is not None:
        said += f" @ {at / 1000:.3f}"
    if offset:
        said += f" offset {'-' if offset < 0 else ''}{duration(abs(offset))}"
    return said


def _grouping(expr: ast.Aggregate) -> str:
    if expr.without:
        return f"{expr.op} without ({', '.join(expr.labels)}) "
    return f"{expr.op} by ({', '.join(expr.labels)}) " if expr.labels else expr.op


def _operator(expr: ast.Binary) -> str:
    said = expr.op + (" bool" if expr.truth else "")
    matching = expr.matching
    if matching.labels or matching.on:
        said += f" {'on' if matching.on else 'ignoring'} ({', '.join(matching.labels)})"
        if matching.card in (Card.MANY_TO_ONE, Card.ONE_TO_MANY):
            side = "left" if matching.card is Card.MANY_TO_ONE else "right"
            said += f" group_{side} ({', '.join(matching.include)})"
    return said
