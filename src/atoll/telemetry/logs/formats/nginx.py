"""nginx's error log, behind its time: `[error] 31#31: *1 connect() failed`."""

from __future__ import annotations

import re

from atoll.telemetry.logs.levels import severity_of
from atoll.telemetry.logs.record import Parsed

_ERROR = re.compile(
    r"\[(?P<level>[a-z]{3,6})\] (?P<pid>\d{1,10})#(?P<thread>\d{1,10}): (?:\*(?P<connection>\d{1,20}) )?"
)


def parse(rest: str, found: dict[str, str]) -> Parsed | None:
    """What follows the time, when nginx wrote it; `found` already has the time."""
    match = _ERROR.match(rest)
    if match is None:
        return None
    found["process.pid"] = match["pid"]
    if match["connection"]:
        found["nginx.connection"] = match["connection"]
    level = match["level"].upper()
    return Parsed(rest[match.end() :], severity_of(level), level, "nginx", attributes=found)
