"""The tokens of a query with their places, and the bounds that keep the parser safe.

promql-parser knows no columns, recurses without a bound (100 kB of `a+a+…` is a stack overflow) and panics at an
instant before 1970. So the text is read here first: whatever could do harm never reaches it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from atoll.telemetry.promql.refusal import ParseError

LENGTH_LIMIT = 64 << 10
"""Characters of a query."""
NESTING_LIMIT = 64
"""Brackets inside brackets."""
OPERATOR_LIMIT = 200
"""Operators of one query; the tree is at most this and the nesting deep, which Python's and the parser's stacks bear."""
LAST_INSTANT = 253_402_300_799
"""Seconds: the end of the year 9999."""
WORD_OPERATORS = frozenset({"and", "or", "unless", "atan2"})
_OPEN = {"(": ")", "[": "]", "{": "}"}
_CALLED = {"(": "left parenthesis", "[": "left bracket", "{": "left brace"}
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+|\#[^\n]*)
  | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
  | (?P<number>0[xX][0-9a-fA-F]+|(?:\d+(?:ms|[smhdwy]))+(?![\w.])|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<name>[A-Za-z_:][A-Za-z0-9_:]*)
  | (?P<op>=~|!~|==|!=|<=|>=|[-+*/%^<>=@])
  | (?P<mark>[()\[\]{},:])
    """,
    re.VERBOSE,
)

_COLON = re.compile(r"(?P<mark>:)")
"""Between the brackets of a subquery; elsewhere a colon begins a name."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token: `kind` is number, string, name, op, mark or end."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """One past its last character."""
        return self.start + len(self.text)


def scan(query: str) -> list[Token]:
    """The tokens without blanks and comments, and one of kind `end`.

    Raises:
        ParseError: a character that no token has, an open string or bracket, or a bound is passed.
    """
    if len(query) > LENGTH_LIMIT:
        raise ParseError(
            f"the query is longer than {LENGTH_LIMIT} characters", query=query[:LENGTH_LIMIT], position=LENGTH_LIMIT
        )
    tokens: list[Token] = []
    stack: list[Token] = []
    operators = 0
    at = 0
    while at < len(query):
        inside = stack[-1].text if stack else ""
        found = _COLON.match(query, at) if inside == "[" else None
        found = found or _TOKEN.match(query, at)
        if found is None:
            raise ParseError(_unreadable(query, at), query=query, position=at)
        at = found.end()
        kind = found.lastgroup or ""
        if kind == "space":
            continue
        token = Token(kind, found.group(), found.start())
        _instant(tokens, token, query)
        tokens.append(token)
        if kind == "mark":
            _bracket(token, stack, query)
        elif (kind == "op" and inside != "{") or token.text.lower() in WORD_OPERATORS:
            operators += 1
            if operators > OPERATOR_LIMIT:
                raise ParseError(f"more than {OPERATOR_LIMIT} operators", query=query, position=token.start)
    if stack:
        raise ParseError(f"unclosed {_CALLED[stack[-1].text]}", query=query, position=stack[-1].start)
    return [*tokens, Token("end", "", len(query))]


def _bracket(token: Token, stack: list[Token], query: str) -> None:
    if token.text in _OPEN:
        stack.append(token)
        if len(stack) > NESTING_LIMIT:
            raise ParseError(f"more than {NESTING_LIMIT} nested brackets", query=query, position=token.start)
    elif token.text in _OPEN.values():
        if not stack or _OPEN[stack[-1].text] != token.text:
            raise ParseError(f"unexpected {token.text!r}", query=query, position=token.start)
        stack.pop()


def _instant(tokens: list[Token], token: Token, query: str) -> None:
    """Refuse an `@` outside of the calendar."""
    if not tokens or tokens[-1].text != "@":
        return
    if token.text == "-":
        raise ParseError("@ takes an instant after 1970", query=query, position=token.start)
    if token.kind == "number":
        try:
            seconds = float(token.text)
        except ValueError:  # a duration or a hexadecimal number: the parser says what it thinks of it
            return
        if seconds > LAST_INSTANT:
            raise ParseError("@ takes an instant before the year 10000", query=query, position=token.start)


def _unreadable(query: str, at: int) -> str:
    character = query[at]
    if character in "\"'`":
        return "unterminated string"
    return f"unexpected character: {character!r}"
