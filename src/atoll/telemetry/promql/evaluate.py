"""Evaluation of an expression over samples that were read before: pure, over all steps at once.

`needs` says which samples an expression reads; `evaluate` computes. Semantics are Prometheus 2.42's: ranges and the
lookback are closed at both ends, marks of staleness end a series. What a query may take is bounded and checked between
any two operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from atoll.telemetry.metrics.series import Milliseconds, SeriesSamples, Values
from atoll.telemetry.promql import aggregate, arithmetic, ast, match, select
from atoll.telemetry.promql.ast import At, Edge, Expr, Kind
from atoll.telemetry.promql.functions import FUNCTIONS
from atoll.telemetry.promql.refusal import QueryTimeout, QueryTooLarge
from atoll.telemetry.promql.value import Grid, Matrix, Scalar, Value, Vector
from atoll.telemetry.promql.windows import Windows, windows_of

LOOKBACK = 300_000
"""Milliseconds for which the newest sample of a series counts as its value."""
SUBQUERY_STEP = 60_000
"""Milliseconds between the instants of a subquery that names no step (Prometheus' evaluation interval)."""
SAMPLES = 5_000_000
"""Samples that a query may read, and cells of any value on its way; 45 bytes each at most, 8 as a rule."""

Data = Mapping[ast.Selector, Sequence[SeriesSamples]]


@dataclass(frozen=True)
class Bounds:
    """What one query may take; `ended` tells that its time is over."""

    samples: int = SAMPLES
    ended: Callable[[], bool] = field(default=lambda: False)


def needs(expr: Expr, grid: Grid, lookback: int = LOOKBACK) -> dict[ast.Selector, tuple[int, int]]:
    """The first and last millisecond of samples that each selector reads."""
    found: dict[ast.Selector, tuple[int, int]] = {}

    def visit(node: Expr, first: int, last: int) -> None:
        if isinstance(node, ast.Range | ast.Subquery | ast.Selector):
            holder = node.selector if isinstance(node, ast.Range) else node
            at = _instant(holder.at, grid)
            if at is not None:
                first = last = at
            first, last = first - holder.offset, last - holder.offset
            if isinstance(node, ast.Subquery):
                visit(node.expr, first - node.range, last)
                return
            first -= node.range if isinstance(node, ast.Range) else lookback
            selector = node.selector if isinstance(node, ast.Range) else node
            known = found.get(selector, (first, last))
            found[selector] = (min(first, known[0]), max(last, known[1]))
            return
        for child in ast.children(node):
            visit(child, first, last)

    visit(expr, grid.start, grid.end)
    return found


def evaluate(expr: Expr, grid: Grid, data: Data, *, lookback: int = LOOKBACK, bounds: Bounds | None = None) -> Value:
    """The value of `expr` at each instant of the grid. A range vector or text is only good for one instant.

    Raises:
        EvaluationError: these samples have no answer.
        QueryTooLarge: over the bounds.
        QueryTimeout: the time is over.
    """
    with np.errstate(all="ignore"):
        return Evaluation(grid, grid, data, lookback, bounds or Bounds()).value(expr)


def _instant(at: At, query: Grid) -> int | None:
    if at is Edge.START:
        return query.start
    if at is Edge.END:
        return query.end
    return at


@dataclass(eq=False)
class Evaluation:
    """One grid: the query's, or a subquery's inside of it."""

    grid: Grid
    query: Grid
    data: Data
    lookback: int
    bounds: Bounds

    def __post_init__(self) -> None:
        if self.grid.count > self.bounds.samples:
            self._too_large()
        self.times = self.grid.times

    def check(self) -> None:
        """Raises QueryTimeout when the time is over."""
        if self.bounds.ended():
            raise QueryTimeout("query timed out in expression evaluation")

    def value(self, expr: Expr) -> Value:
        """The value of a part."""
        self.check()
        match expr:
            case ast.Paren():
                return self.value(expr.expr)
            case ast.Number():
                return Scalar(np.full(self.grid.count, expr.value))
            case ast.Text():
                return expr.value
            case ast.Selector():
                return self._bounded(self.stamped(expr)[0])
            case ast.Range() | ast.Subquery():
                return self._matrix(expr)
            case ast.Call():
                return self._bounded(FUNCTIONS[expr.function](self, expr.args))
            case ast.Aggregate():
                return self._bounded(aggregate.aggregate(self, expr))
            case ast.Negative():
                value = self.value(expr.expr)
                return Scalar(-value.values) if isinstance(value, Scalar) else arithmetic.negated(_vector(value))
            case ast.Binary():
                return self._bounded(self._binary(expr))

    def vector(self, expr: Expr) -> Vector:
        """The value of a part that is an instant vector."""
        return _vector(self.value(expr))

    def scalar(self, expr: Expr) -> Values:
        """The value of a part that is a scalar."""
        value = self.value(expr)
        assert isinstance(value, Scalar), "the parser checks the kinds"
        return value.values

    def text(self, expr: Expr) -> str:
        """The value of a part that is a string."""
        value = self.value(expr)
        assert isinstance(value, str), "the parser checks the kinds"
        return value

    def windows(self, expr: Expr) -> Windows:
        """The windows of a part that is a range vector."""
        value = self.value(expr)
        assert isinstance(value, Matrix), "the parser checks the kinds"
        if len(value.series) * len(value.ends) > self.bounds.samples:
            self._too_large()
        return windows_of(value)

    def stamped(self, selector: ast.Selector) -> tuple[Vector, Milliseconds]:
        """A selector's newest samples, and when they were taken."""
        series = self.data[selector]
        if len(series) * self.grid.count > self.bounds.samples:
            self._too_large()
        return select.newest(series, self._ends(selector.at, selector.offset), self.lookback)

    def _ends(self, at: At, offset: int) -> Milliseconds:
        nailed = _instant(at, self.query)
        times = self.times if nailed is None else np.full(self.grid.count, nailed, dtype=np.int64)
        return times - offset

    def _matrix(self, expr: ast.Range | ast.Subquery) -> Matrix:
        if isinstance(expr, ast.Range):
            selector = expr.selector
            series = select.unstale(self.data[selector])
            return Matrix(series, self._ends(selector.at, selector.offset), expr.range)
        ends = self._ends(expr.at, expr.offset)
        step = expr.step or SUBQUERY_STEP
        start = -(-(int(ends[0]) - expr.range) // step) * step
        end = int(ends[-1])
        if end < start:
            return Matrix([], ends, expr.range)
        inner = replace(self, grid=Grid(start, end, step))
        value = inner.value(expr.expr)
        if isinstance(value, Scalar):
            value = Vector([()], value.values[None, :], np.ones((1, inner.grid.count), dtype=bool))
        return Matrix(select.as_series(_vector(value), inner.times), ends, expr.range)

    def _binary(self, expr: ast.Binary) -> Value:
        left, right = self.value(expr.left), self.value(expr.right)
        if isinstance(left, Scalar) and isinstance(right, Scalar):
            return Scalar(arithmetic.scalars(expr.op, left.values, right.values))
        if isinstance(left, Vector) and isinstance(right, Vector):
            if expr.matching.card is ast.Card.MANY_TO_MANY:
                return match.sets(expr.op, left, right, expr.matching)
            return match.vectors(expr, left, right)
        if isinstance(right, Scalar):
            return arithmetic.with_scalar(expr, _vector(left), right.values, swapped=False)
        assert isinstance(left, Scalar), "the parser checks the kinds"
        return arithmetic.with_scalar(expr, _vector(right), left.values, swapped=True)

    def _bounded(self, value: Value) -> Value:
        if isinstance(value, Vector) and value.values.size > self.bounds.samples:
            self._too_large()
        return value

    def _too_large(self) -> None:
        raise QueryTooLarge(
            f"query processing would load too many samples into memory: more than {self.bounds.samples}",
            hint="ask for a shorter time, a longer step or fewer series",
        )


def _vector(value: Value) -> Vector:
    assert isinstance(value, Vector), "the parser checks the kinds"
    return value


def is_scalar(expr: Expr) -> bool:
    """Whether an expression yields one number a step."""
    return ast.kind_of(expr) is Kind.SCALAR
