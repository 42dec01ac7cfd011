"""Java behind its time: logback's and log4j's usual patterns, and Spring Boot's."""

from __future__ import annotations

import re

from atoll.telemetry.logs.levels import SEVERITY
from atoll.telemetry.logs.record import SCOPE_LIMIT, Parsed

_LEVEL = r"(?P<level>TRACE|DEBUG|INFO|WARN|ERROR|FATAL)"
_LOGBACK = re.compile(
    rf"\[(?P<thread>[^\]]{{1,128}})\] {{1,2}}{_LEVEL} {{1,3}}(?P<logger>[\w.$/\[\]\-]{{1,200}}) {{1,8}}(?:-|:) "
)
_SPRING = re.compile(
    rf"{_LEVEL} {{1,3}}(?P<pid>\d{{1,10}}) --- (?:\[(?P<app>[^\]]{{0,128}})\] )?\[(?P<thread>[^\]]{{1,128}})\] "
    r"(?:\[[^\]]{0,128}\] )?(?P<logger>[\w.$/\[\]\-]{1,200}) {0,60}: "
)


def parse(rest: str, found: dict[str, str]) -> Parsed | None:
    """What follows the time, when a Java logger wrote it; `found` already has the time."""
    match = (_LOGBACK if rest.startswith("[") else _SPRING).match(rest)
    if match is None:
        return None
    told = match.groupdict()
    found["thread.name"] = told["thread"].strip()
    if told.get("pid"):
        found["process.pid"] = told["pid"]
    level = told["level"]
    return Parsed(rest[match.end() :], SEVERITY[level], level, told["logger"][:SCOPE_LIMIT], attributes=found)
