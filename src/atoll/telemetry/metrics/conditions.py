"""Matchers as a WHERE clause over `series`: values are parameters, patterns are the engine's RE2, anchored. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from atoll.errors import InvalidValue
from atoll.telemetry.metrics.series import NAME, Matcher, Op

MATCHERS_LIMIT = 100
"""Conditions of one selection."""
PATTERN_LIMIT = 10_000
"""Characters of a pattern."""
TOLD_AGAIN = 3_600_000
"""Milliseconds after which a series that lives is written down again; `LastSeen` is up to this much too old."""


def where(matchers: Sequence[Matcher], columns: Mapping[str, str] | None = None) -> tuple[str, dict[str, str]]:
    """The clause (true for no matchers) and its parameters; a label that is missing is the empty text.

    `columns`: SQL of each label, for a table that has a column for each of them, and no others are asked for.

    Raises:
        InvalidValue: too many matchers, or a pattern that is too long.
    """
    if len(matchers) > MATCHERS_LIMIT or any(len(matcher.value) > PATTERN_LIMIT for matcher in matchers):
        raise InvalidValue("too many or too long matchers", hint=f"at most {MATCHERS_LIMIT}")
    parameters: dict[str, str] = {}
    clauses = []
    for number, matcher in enumerate(matchers):
        column = "MetricName" if columns is None else columns[matcher.name]
        if matcher.name != NAME and columns is None:
            column = f"Labels[{{n{number}:String}}]"
            parameters[f"n{number}"] = matcher.name
        clauses.append(_clause(column, matcher.op, f"{{v{number}:String}}"))
        pattern = matcher.op in (Op.MATCHES, Op.MATCHES_NOT)
        parameters[f"v{number}"] = f"^(?s:{matcher.value})$" if pattern else matcher.value
    return " AND ".join(clauses) or "true", parameters


def names_only(matchers: Iterable[Matcher]) -> list[Matcher]:
    """Those about the metric's name: they hold for `samples` as well."""
    return [matcher for matcher in matchers if matcher.name == NAME]


def _clause(column: str, op: Op, value: str) -> str:
    if op is Op.MATCHES:
        return f"match({column}, {value})"
    if op is Op.MATCHES_NOT:
        return f"NOT match({column}, {value})"
    return f"{column} {'=' if op is Op.EQUAL else '!='} {value}"
