"""Lines that begin with a time: the time becomes an attribute, and what follows is asked of each format in turn."""

from __future__ import annotations

import re

from atoll.telemetry.logs import levels
from atoll.telemetry.logs.formats import golang, java, nginx, stdlib
from atoll.telemetry.logs.record import TIME, Parsed

_TIME = re.compile(
    r"\[?((?:\d{4}[-/]\d\d[-/]\d\d[T ])?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?)\]?[ \t]{1,4}(?=\S)"
)


def parse(text: str) -> Parsed | None:
    """The line, when it begins with a date and time, or a time of day."""
    match = _TIME.match(text)
    if match is None:
        return None
    rest = text[match.end() :]
    found = {TIME: match[1]}
    if rest.startswith("["):
        told = nginx.parse(rest, found) or java.parse(rest, found) or stdlib.behind_time(rest, found)
    else:
        told = java.parse(rest, found) or stdlib.behind_time(rest, found) or golang.parse(rest, found)
    if told is not None:
        return told
    severity, level = levels.in_text(rest)
    return Parsed(rest, severity, level, attributes=found)
