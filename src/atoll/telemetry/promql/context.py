"""What functions and operators see of an evaluation: its instants, and its arguments evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from atoll.telemetry.metrics.series import Milliseconds, Values
from atoll.telemetry.promql.ast import Expr, Selector
from atoll.telemetry.promql.value import Grid, Value, Vector
from atoll.telemetry.promql.windows import Windows


class Context(Protocol):
    """Implemented by `evaluate.Evaluation`."""

    grid: Grid
    times: Milliseconds

    def vector(self, expr: Expr) -> Vector:
        """An argument that is an instant vector."""
        ...

    def scalar(self, expr: Expr) -> Values:
        """An argument that is a scalar, at each step."""
        ...

    def windows(self, expr: Expr) -> Windows:
        """An argument that is a range vector."""
        ...

    def text(self, expr: Expr) -> str:
        """An argument that is a string."""
        ...

    def stamped(self, selector: Selector) -> tuple[Vector, Milliseconds]:
        """A selector's samples and when they were taken."""
        ...

    def check(self) -> None:
        """Called in long loops; raises QueryTimeout when the time is over."""
        ...


Function: TypeAlias = Callable[[Context, tuple[Expr, ...]], Value]
