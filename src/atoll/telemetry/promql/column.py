"""Where a query is wrong: promql-parser says what, never where.

A walk over the grammar without building anything finds the first token that cannot stand where it stands. When the
grammar is kept and the types are wrong, the innermost call or bracket that is refused with the same words is the place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atoll.telemetry.promql.scan import Token

WhyNot = Callable[[str], str | None]
AGGREGATIONS = frozenset(
    {"sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "quantile", "count_values",
     "limitk", "limit_ratio"}
)  # fmt: skip
_BINARY = frozenset({"+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">=", "and", "or", "unless", "atan2"})
_MATCH = frozenset({"=", "!=", "=~", "!~"})
_GROUPING = frozenset({"by", "without"})


def locate(query: str, tokens: Sequence[Token], said: str, why_not: WhyNot) -> tuple[str, int]:
    """What is wrong and the offset at which; `said` is the library's word."""
    walk = _Walk(tokens)
    try:
        walk.whole()
    except _Wrong as wrong:
        return wrong.reason, wrong.token.start
    reason = "cannot be understood" if said == "invalid promql query" else said
    best, shortest = tokens[0].start, len(query) + 1
    for start, end in walk.parts:
        if end - start < shortest and why_not(query[start:end]) == said:
            best, shortest = start, end - start
    return reason, best


class _Wrong(Exception):
    def __init__(self, token: Token, expected: str) -> None:
        self.token = token
        shown = "end of input" if token.kind == "end" else repr(token.text)
        self.reason = f"unexpected {shown}, expected {expected}"
        super().__init__(self.reason)


class _Walk:
    """Recursive descent over the tokens; `parts` are the (start, end) of what was walked over whole."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self.parts: list[tuple[int, int]] = []

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        if token.kind != "end":
            self._at += 1
        return token

    def _is(self, *texts: str) -> bool:
        return self._next.kind not in ("string", "end") and self._next.text.lower() in texts

    def _need(self, text: str) -> Token:
        if not self._is(text):
            raise _Wrong(self._next, repr(text))
        return self._take()

    def whole(self) -> None:
        self._expression()
        if self._next.kind != "end":
            raise _Wrong(self._next, "an operator or the end")

    def _expression(self) -> None:
        start = self._next.start
        self._operand()
        while self._is(*_BINARY):
            self._take()
            if self._is("bool"):
                self._take()
            if self._is("on", "ignoring"):
                self._take()
                self._labels()
                if self._is("group_left", "group_right"):
                    self._take()
                    if self._is("("):
                        self._labels()
            self._operand()
            self._part(start)

    def _operand(self) -> None:
        start = self._next.start
        while self._is("-", "+"):
            self._take()
        self._primary()
        self._postfix()
        self._part(start)

    def _part(self, start: int) -> None:
        self.parts.append((start, self._tokens[self._at - 1].end))

    def _primary(self) -> None:
        token = self._next
        if token.kind in ("number", "string"):
            self._take()
        elif self._is("("):
            self._take()
            self._expression()
            self._need(")")
        elif self._is("{"):
            self._matchers()
        elif token.kind == "name":
            start = token.start
            self._take()
            if token.text.lower() in AGGREGATIONS and self._is("by", "without", "("):
                self._aggregation()
            elif self._is("("):
                self._arguments()
            elif self._is("{"):
                self._matchers()
            self._part(start)
        else:
            raise _Wrong(token, "an expression")

    def _aggregation(self) -> None:
        if self._is(*_GROUPING):
            self._take()
            self._labels()
        self._arguments()
        if self._is(*_GROUPING):
            self._take()
            self._labels()

    def _arguments(self) -> None:
        self._need("(")
        while not self._is(")"):
            self._expression()
            if not self._is(")"):
                if not self._is(","):
                    raise _Wrong(self._next, "',' or ')'")
                self._take()
                if self._is(")"):
                    raise _Wrong(self._next, "an argument")
        self._need(")")

    def _labels(self) -> None:
        self._need("(")
        while not self._is(")"):
            if self._next.kind not in ("name", "string"):
                raise _Wrong(self._next, "a label's name")
            self._take()
            if self._is(","):
                self._take()
            elif not self._is(")"):
                raise _Wrong(self._next, "',' or ')'")
        self._need(")")

    def _matchers(self) -> None:
        self._need("{")
        while not self._is("}"):
            named = self._take()
            if named.kind not in ("name", "string"):
                raise _Wrong(named, "a label's name")
            if named.kind == "name" or self._is(*_MATCH):
                if not self._is(*_MATCH):
                    raise _Wrong(self._next, "one of = != =~ !~")
                self._take()
                if self._next.kind != "string":
                    raise _Wrong(self._next, "a value in quotes")
                self._take()
            if self._is(","):
                self._take()
            elif not self._is("}"):
                raise _Wrong(self._next, "',' or '}'")
        self._need("}")

    def _postfix(self) -> None:
        while True:
            if self._is("["):
                self._take()
                self._number("a duration")
                if self._is(":"):
                    self._take()
                    if not self._is("]"):
                        self._number("a duration or ']'")
                self._need("]")
            elif self._is("offset"):
                self._take()
                if self._is("-", "+"):
                    self._take()
                self._number("a duration")
            elif self._is("@"):
                self._take()
                if self._is("start", "end"):
                    self._take()
                    self._need("(")
                    self._need(")")
                else:
                    self._number("an instant in seconds, start() or end()")
            else:
                return

    def _number(self, expected: str) -> None:
        if self._next.kind != "number":
            raise _Wrong(self._next, expected)
        self._take()
