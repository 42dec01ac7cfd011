"""Go: the standard `log` package behind its time (`main.go:12: text`), and klog or glog (`I1121 14:02:11.1 7 a.go:1] text`)."""

from __future__ import annotations

import re

from atoll.telemetry.logs import levels
from atoll.telemetry.logs.record import TIME, Parsed

_KLOG = re.compile(
    r"(?P<level>[IWEF])(?P<time>\d{4} \d\d:\d\d:\d\d(?:\.\d{1,9})?)\s{1,8}(?P<thread>\d{1,10}) (?P<code>[\w./\-]{1,128}:\d{1,7})\] "
)
_CODE = re.compile(r"(?P<code>[\w./\-]{1,128}\.go:\d{1,7}): ")
_KLOG_LEVELS = {
    "I": (levels.INFO, "INFO"),
    "W": (levels.WARN, "WARN"),
    "E": (levels.ERROR, "ERROR"),
    "F": (levels.FATAL, "FATAL"),
}


def klog(text: str) -> Parsed | None:
    """A line of klog or glog."""
    match = _KLOG.match(text)
    if match is None:
        return None
    severity, level = _KLOG_LEVELS[match["level"]]
    found = {TIME: match["time"], "thread.id": match["thread"], "code.location": match["code"]}
    return Parsed(text[match.end() :], severity, level, attributes=found)


def parse(rest: str, found: dict[str, str]) -> Parsed | None:
    """What follows the time, when it begins with a place in Go code; `found` already has the time."""
    match = _CODE.match(rest)
    if match is None:
        return None
    found["code.location"] = match["code"]
    body = rest[match.end() :]
    severity, level = levels.in_text(body)
    return Parsed(body, severity, level, attributes=found)
