"""The words of an expression after parsing: frozen values, times in milliseconds, nothing of the parser's library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from atoll.telemetry.metrics.series import Matcher


class Edge(StrEnum):
    """`@ start()` and `@ end()`: the bounds of the whole query, also inside a subquery."""

    START = "start()"
    END = "end()"


At: TypeAlias = int | Edge | None
"""Where an `@` modifier nails a selector: milliseconds, an edge of the query, or nowhere."""


@dataclass(frozen=True, slots=True)
class Number:
    """A literal: `1e3`, `0x1F`, `5m` (seconds), `Inf`, `NaN`."""

    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A literal in quotes."""

    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """The newest sample of each series; `matchers` have the metric's name among them."""

    matchers: tuple[Matcher, ...]
    offset: int = 0
    at: At = None


@dataclass(frozen=True, slots=True)
class Range:
    """All samples of `range` ms."""

    selector: Selector
    range: int


@dataclass(frozen=True, slots=True)
class Subquery:
    """An expression evaluated every `step` ms over `range` ms; without a step, every minute."""

    expr: Expr
    range: int
    step: int | None = None
    offset: int = 0
    at: At = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the table in `functions`."""

    function: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`sum by (a) (…)`; `param` is the k, φ or label of those that take one."""

    op: str
    expr: Expr
    param: Expr | None = None
    labels: tuple[str, ...] = ()
    without: bool = False


class Card(StrEnum):
    """How many series of one side meet one of the other."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


@dataclass(frozen=True, slots=True)
class Matching:
    """Which labels two series must share (`on`) or may differ in (`ignoring`), and what the one side gives away."""

    card: Card = Card.ONE_TO_ONE
    on: bool = False
    labels: tuple[str, ...] = ()
    include: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands; `truth` is the `bool` modifier of a comparison."""

    op: str
    left: Expr
    right: Expr
    matching: Matching = Matching()
    truth: bool = False


@dataclass(frozen=True, slots=True)
class Negative:
    """A minus in front."""

    expr: Expr


@dataclass(frozen=True, slots=True)
class Paren:
    """Kept for the formatter only."""

    expr: Expr


Expr: TypeAlias = Number | Text | Selector | Range | Subquery | Call | Aggregate | Binary | Negative | Paren


class Kind(StrEnum):
    """What an expression yields, in Prometheus' words."""

    SCALAR = "scalar"
    VECTOR = "vector"
    MATRIX = "matrix"
    STRING = "string"


SCALAR_FUNCTIONS = frozenset({"time", "pi", "scalar"})


def kind_of(expr: Expr) -> Kind:
    """The kind of value of an expression that the parser took."""
    match expr:
        case Number():
            return Kind.SCALAR
        case Text():
            return Kind.STRING
        case Range() | Subquery():
            return Kind.MATRIX
        case Call():
            return Kind.SCALAR if expr.function in SCALAR_FUNCTIONS else Kind.VECTOR
        case Binary():
            both = kind_of(expr.left) is Kind.SCALAR and kind_of(expr.right) is Kind.SCALAR
            return Kind.SCALAR if both else Kind.VECTOR
        case Negative() | Paren():
            return kind_of(expr.expr)
        case _:
            return Kind.VECTOR


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct parts, from left to right."""
    match expr:
        case Range():
            return (expr.selector,)
        case Subquery() | Negative() | Paren():
            return (expr.expr,)
        case Call():
            return expr.args
        case Aggregate():
            return (expr.expr,) if expr.param is None else (expr.param, expr.expr)
        case Binary():
            return (expr.left, expr.right)
        case _:
            return ()


def selectors(expr: Expr) -> Iterator[Selector]:
    """Every selector of an expression, from left to right."""
    if isinstance(expr, Selector):
        yield expr
    for child in children(expr):
        yield from selectors(child)


def unwrapped(expr: Expr) -> Expr:
    """Without the parentheses around it."""
    while isinstance(expr, Paren):
        expr = expr.expr
    return expr
