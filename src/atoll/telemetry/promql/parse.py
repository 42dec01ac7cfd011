"""Text to expression, by promql-parser; every refusal is a ParseError that points at a column."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import promql_parser as library

from atoll.telemetry.metrics.series import NAME, Matcher, Op
from atoll.telemetry.promql import ast, regex
from atoll.telemetry.promql.column import locate
from atoll.telemetry.promql.functions import FUNCTIONS
from atoll.telemetry.promql.refusal import ParseError
from atoll.telemetry.promql.scan import Token, scan

AGGREGATIONS = frozenset(
    {
        "sum", "avg", "count", "min", "max", "group", "stddev", "stdvar",
        "topk", "bottomk", "quantile", "count_values", "limitk",
    }
)  # fmt: skip
_OPS = {"Equal": Op.EQUAL, "NotEqual": Op.NOT_EQUAL, "Re": Op.MATCHES, "NotRe": Op.MATCHES_NOT}
_CARDS = {
    "OneToOne": ast.Card.ONE_TO_ONE,
    "ManyToOne": ast.Card.MANY_TO_ONE,
    "OneToMany": ast.Card.ONE_TO_MANY,
    "ManyToMany": ast.Card.MANY_TO_MANY,
}
_EDGES = {"Start": ast.Edge.START, "End": ast.Edge.END}
_registered = False


def parse(query: str) -> ast.Expr:
    """The expression that `query` says.

    Raises:
        ParseError: it is not one that we evaluate.
    """
    tokens = scan(query)
    if len(tokens) == 1:
        raise ParseError("no expression found in input", query=query, position=0)
    refused = _unknown(tokens)
    if refused is not None:
        raise ParseError(refused[0], query=query, position=refused[1])
    try:
        parsed = _library_parse(query)
    except ValueError as error:
        reason, position = locate(query, tokens, str(error), _why_not)
        raise ParseError(reason, query=query, position=position) from None
    try:
        return _expr(parsed)
    except _NotSupported as error:
        raise ParseError(str(error), query=query, position=_place(tokens, error.near)) from None


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """The matchers of a series selector, as `match[]` takes it.

    Raises:
        ParseError: it is another expression, or has an offset or an @.
    """
    expr = parse(text)
    if not isinstance(expr, ast.Selector) or expr.offset or expr.at is not None:
        raise ParseError("expected a series selector without modifiers", query=text, position=0)
    return expr.matchers


class _NotSupported(Exception):
    def __init__(self, reason: str, near: str) -> None:
        super().__init__(reason)
        self.near = near


def _library_parse(query: str) -> Any:
    global _registered
    if not _registered:
        matrix, scalar = library.ValueType.Matrix, library.ValueType.Scalar
        library.register_extra_functions(
            [library.Function("holt_winters", [matrix, scalar, scalar], library.ValueType.Vector)]
        )
        _registered = True
    return library.parse(query)


def _why_not(query: str) -> str | None:
    """What the library says against a query; None when it takes it."""
    try:
        _library_parse(query)
    except ValueError as error:
        return str(error)
    return None


def _unknown(tokens: Sequence[Token]) -> tuple[str, int] | None:
    """A called name that is neither a function nor an aggregation of ours: the library knows more than we evaluate."""
    for before, token, after in zip((None, *tokens), tokens, tokens[1:], strict=False):
        called = token.kind == "name" and after.text == "(" and token.text.lower() not in _KEYWORDS
        if not called or (before is not None and before.text == "@"):
            continue
        if token.text not in FUNCTIONS and token.text.lower() not in AGGREGATIONS:
            return f"unknown function with name {token.text!r}", token.start
    return None


_KEYWORDS = frozenset(
    {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "atan2", "bool", "fill",
     "fill_left", "fill_right"}
)  # fmt: skip


def _place(tokens: Sequence[Token], near: str) -> int:
    return next((token.start for token in tokens if token.text.lower() == near), 0)


def _expr(node: Any) -> ast.Expr:
    match type(node).__name__:
        case "NumberLiteral":
            return ast.Number(float(node.val))
        case "StringLiteral":
            return ast.Text(node.val)
        case "ParenExpr":
            return ast.Paren(_expr(node.expr))
        case "UnaryExpr":
            return ast.Negative(_expr(node.expr))
        case "VectorSelector":
            return _selector(node)
        case "MatrixSelector":
            return ast.Range(_selector(node.vector_selector), _milliseconds(node.range))
        case "SubqueryExpr":
            step = None if node.step is None else _milliseconds(node.step)
            if step == 0:
                step = None
            return ast.Subquery(
                _expr(node.expr), _milliseconds(node.range), step, _milliseconds(node.offset), _at(node)
            )
        case "Call":
            return ast.Call(node.func.name, tuple(_expr(arg) for arg in node.args))
        case "AggregateExpr":
            return _aggregate(node)
        case "BinaryExpr":
            return _binary(node)
        case name:
            raise _NotSupported(f"{name} is not supported", "")


def _selector(node: Any) -> ast.Selector:
    if node.matchers.or_matchers:
        raise _NotSupported("`or` between matchers is not supported", "or")
    matchers = [_matcher(matcher) for matcher in node.matchers.matchers]
    if node.name:
        matchers.insert(0, Matcher(NAME, Op.EQUAL, node.name))
    return ast.Selector(tuple(matchers), _milliseconds(node.offset), _at(node))


def _matcher(node: Any) -> Matcher:
    op = _OPS[_case(node.op)]
    if op in (Op.MATCHES, Op.MATCHES_NOT):
        reason = regex.refusal(node.value)
        if reason is not None:
            raise _NotSupported(f"illegal regular expression: {reason}", op.value)
    return Matcher(node.name, op, node.value)


def _aggregate(node: Any) -> ast.Aggregate:
    modifier = node.modifier
    labels = () if modifier is None else tuple(modifier.labels)
    without = modifier is not None and modifier.type == library.AggModifierType.Without
    param = None if node.param is None else _expr(node.param)
    return ast.Aggregate(str(node.op).lower(), _expr(node.expr), param, labels, without)


def _binary(node: Any) -> ast.Binary:
    op = str(node.op).lower()
    left, right = _expr(node.lhs), _expr(node.rhs)
    modifier = node.modifier
    if modifier is None:
        card = ast.Card.MANY_TO_MANY if op in ("and", "or", "unless") else ast.Card.ONE_TO_ONE
        return ast.Binary(op, left, right, ast.Matching(card))
    if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
        raise _NotSupported("`fill` is not supported", "fill")
    matching = modifier.matching
    return ast.Binary(
        op,
        left,
        right,
        ast.Matching(
            _CARDS[_case(modifier.card)],
            matching is not None and matching.type == library.LabelModifierType.Include,
            () if matching is None else tuple(matching.labels),
            tuple(modifier.group_labels or ()),
        ),
        modifier.return_bool,
    )


def _milliseconds(duration: timedelta | None) -> int:
    return 0 if duration is None else round(duration / timedelta(milliseconds=1))


def _at(node: Any) -> ast.At:
    modifier = node.at
    if modifier is None:
        return None
    if modifier.type == library.AtModifierType.At:
        seconds: float = modifier.at.timestamp()
        return round(seconds * 1000)
    return _EDGES[_case(modifier.type)]


def _case(value: Any) -> str:
    """The name of a case of one of the library's enumerations, which are not hashable."""
    return repr(value).rpartition(".")[2]
