r"""Variables in values, exactly as compose fills them: `$NAME`, `${NAME}`, `-`, `:-`, `?`, `:?`, `+`, `:+`, `$$`. Pure.

In a command, a variable that an instance has of its own (`$PORT`, its environment, its peers' addresses) is left for
the supervisor, which fills it when the instance starts; everything else is filled here. A command that was expanded
here is in the supervisor's notation: `$NAME`, `${NAME}`, and `$$` for one `$`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from atoll.kit.text import scrub

LENGTH_LIMIT = 1 << 17
"""Characters of a filled value; the kernel takes no longer argument or variable."""
DEPTH_LIMIT = 8
"""Defaults within defaults."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LATER = re.compile(r"(secret|config|service):")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")


@dataclass
class Expansion:
    """What became of one text: `unset` names were filled with nothing, `problems` must be told, `filled` was touched."""

    text: str = ""
    filled: bool = False
    unset: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Refusals for want of a required variable."""
    later: list[str] = field(default_factory=list)
    """References such as `${secret:…}` that this version does not know."""


class _Refused(Exception):
    """The text cannot be filled; says why."""


def expand(text: str, values: Mapping[str, str], *, own: Callable[[str], str | None] | None = None) -> Expansion:
    """Fill the variables of `text` from `values`.

    `own` is given for commands: for a variable the instance has of its own, it tells the value if that is known now,
    else any text; the variable itself stays in the command.
    """
    result = Expansion()
    filler = _Filler(values, own, result)
    try:
        result.text = filler.fill(text, 0)
    except _Refused as refusal:
        result.problems.append(str(refusal))
    return result


class _Filler:
    def __init__(self, values: Mapping[str, str], own: Callable[[str], str | None] | None, result: Expansion) -> None:
        self._values = values
        self._own = own
        self._result = result
        self._dollar = "$" if own is None else "$$"

    def fill(self, text: str, depth: int) -> str:
        if depth > DEPTH_LIMIT:
            raise _Refused(f"defaults are nested more than {DEPTH_LIMIT} deep")
        parts: list[str] = []
        length = position = 0
        while position < len(text):
            part, position = self._next(text, position, depth)
            parts.append(part)
            length += len(part)
            if length > LENGTH_LIMIT:
                raise _Refused(f"the filled value is over {LENGTH_LIMIT} characters")
        return "".join(parts)

    def _next(self, text: str, position: int, depth: int) -> tuple[str, int]:
        start = text.find("$", position)
        if start != position:
            end = len(text) if start < 0 else start
            return text[position:end], end
        follows = text[start + 1 : start + 2]
        if follows == "$":
            self._result.filled = self._result.filled or self._own is None
            return self._dollar, start + 2
        if follows == "{":
            end = _closing(text, start + 2)
            if end < 0:
                raise _Refused(f"`{scrub(text[start:], limit=40)}` has no closing brace")
            return self._braced(text[start + 2 : end], depth), end + 1
        if found := _NAME.match(text, start + 1):
            return self._plain(found[0]), found.end()
        return self._dollar, start + 1

    def _plain(self, name: str) -> str:
        self._result.filled = True
        if self._own is not None and self._own(name) is not None:
            return f"${{{name}}}"
        value = self._values.get(name)
        if value is None:
            self._result.unset.append(name)
        return self._literal(value or "")

    def _literal(self, value: str) -> str:
        return value if self._own is None else value.replace("$", "$$")

    def _braced(self, body: str, depth: int) -> str:
        if _LATER.match(body):
            self._result.later.append(f"${{{scrub(body, limit=80)}}}")
            return ""
        name = _NAME.match(body)
        rest = body[name.end() :] if name else body
        if name is None or (rest and not rest.startswith(_OPERATORS)):
            raise _Refused(f"`${{{scrub(body, limit=40)}}}` is not a variable")
        if not rest:
            return self._plain(name[0])
        self._result.filled = True
        operator = next(operator for operator in _OPERATORS if rest.startswith(operator))
        return self._operated(name[0], operator, rest[len(operator) :], depth)

    def _operated(self, name: str, operator: str, word: str, depth: int) -> str:
        mine = None if self._own is None else self._own(name)
        value = self._values.get(name) if mine is None else mine
        present = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return self.fill(word, depth + 1) if present else ""
        if present:
            return self._literal(value or "") if mine is None else f"${{{name}}}"
        if operator.endswith("-"):
            return self.fill(word, depth + 1)
        said = self.fill(word, depth + 1)
        self._result.missing.append(f"variable `{name}` is required" + (f": {scrub(said, limit=200)}" if said else ""))
        return ""


def _closing(text: str, position: int) -> int:
    """Where the brace opened before `position` closes; -1 when it does not."""
    depth = 1
    while position < len(text):
        if text[position] == "}":
            depth -= 1
            if not depth:
                return position
        elif text.startswith("${", position):
            depth += 1
            position += 1
        position += 1
    return -1
