"""Lines of `key=value key="value"` and nothing else: logfmt, Go's slog, logrus, HashiCorp's tools, atoll itself."""

from __future__ import annotations

import re
from typing import Any

from atoll.telemetry.logs.formats.json_lines import LEVELS, MESSAGES, TIMES, of_fields
from atoll.telemetry.logs.record import Parsed

_PAIR = re.compile(r"([A-Za-z_@][\w.@/\-]*)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\"]*))(?:[ \t]+|$)")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
PAIRS = 200
"""Pairs of one line at most; a line with more is plain text."""
_TELLING = frozenset((*LEVELS, *MESSAGES, *TIMES))


def parse(text: str) -> Parsed | None:
    """The line, when it is logfmt all through and says a level, a message or a time, or has three pairs."""
    found = pairs(text)
    if found is None or (len(found) < 3 and _TELLING.isdisjoint(found)):
        return None
    return of_fields(found, text)


def pairs(text: str) -> dict[str, Any] | None:
    """All pairs of a text; None when it is something else as well."""
    found: dict[str, Any] = {}
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _PAIR.match(text, position)
        if match is None or len(found) >= PAIRS:
            return None
        key, quoted, plain = match.groups()
        found[key] = plain if quoted is None else _unescaped(quoted)
        position = match.end()
    return found or None


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), text) if "\\" in text else text
