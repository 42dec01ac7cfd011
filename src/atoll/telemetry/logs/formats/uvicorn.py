"""uvicorn's own lines: `INFO:     Started server process [7]`, and its access log."""

from __future__ import annotations

import re

from atoll.telemetry.logs.formats import access
from atoll.telemetry.logs.levels import SEVERITY
from atoll.telemetry.logs.record import Parsed

_LINE = re.compile(r"(TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL): {2,9}(?=\S)")


def parse(text: str) -> Parsed | None:
    """The line, when uvicorn's default formatter wrote it: the level and its colon fill ten columns."""
    match = _LINE.match(text)
    if match is None or match.end() != 10:
        return None
    level, rest = match[1], text[10:]
    if '" ' in rest and (found := access.uvicorn(rest, SEVERITY[level], level)):
        return found
    return Parsed(rest, SEVERITY[level], level, "uvicorn.error")
