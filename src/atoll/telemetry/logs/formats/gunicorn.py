"""Lines that begin with brackets: gunicorn and hypercorn, Celery, and `[INFO] text`."""

from __future__ import annotations

import re

from atoll.telemetry.logs.levels import SEVERITY, WORDS
from atoll.telemetry.logs.record import TIME, Parsed

_GUNICORN = re.compile(
    r"\[(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\] \[(?P<pid>\d{1,10})\] \[(?P<level>[A-Z]{2,13})\] "
)
_CELERY = re.compile(
    r"\[(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d{3}): (?P<level>[A-Z]{2,13})/(?P<process>[\w\-]{1,64})\] "
)
_LEVEL = re.compile(rf"\[ {{0,3}}(?P<level>(?i:{WORDS})) {{0,6}}\][: ]*")


def parse(text: str) -> Parsed | None:
    """The line, when it begins like one of them."""
    if match := _GUNICORN.match(text):
        found, scope = {TIME: match["time"], "process.pid": match["pid"]}, "gunicorn.error"
    elif match := _CELERY.match(text):
        found, scope = {TIME: match["time"], "process.name": match["process"]}, "celery"
    elif match := _LEVEL.match(text):
        found, scope = {}, ""
    else:
        return None
    level = match["level"].upper()
    severity = SEVERITY.get(level, 0)
    return None if not severity else Parsed(text[match.end() :], severity, level, scope, attributes=found or None)
