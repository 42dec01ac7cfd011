"""How a query is refused, in the words of Prometheus' API: bad_data, execution, timeout.

A parse error knows its place: line and column as people count them, and the offset for a caret.
"""

from __future__ import annotations

from typing import ClassVar

from atoll.errors import InvalidValue, LimitReached


class ParseError(InvalidValue):
    """The text is not PromQL, or is of the wrong types."""

    def __init__(self, reason: str, *, query: str, position: int) -> None:
        position = max(0, min(position, len(query)))
        before = query[:position]
        self.reason = reason
        self.query = query
        self.position = position
        self.line = before.count("\n") + 1
        self.column = position - (before.rfind("\n") + 1) + 1
        super().__init__(
            f"{self.line}:{self.column}: parse error: {reason}", line=self.line, column=self.column, position=position
        )


class EvaluationError(InvalidValue):
    """The expression has no answer over these samples: series that cannot be told apart, a bad argument."""


class QueryTooLarge(LimitReached):
    """More samples or steps than a query may have."""

    status: ClassVar[int] = 422


class QueryTimeout(LimitReached):
    """The query took longer than it may."""

    status: ClassVar[int] = 503
