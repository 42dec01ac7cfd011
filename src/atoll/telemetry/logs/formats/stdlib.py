"""Python's `logging` in its usual formats, loguru, and structlog's console: before the time is taken off
(`INFO:app:text`) or behind it (`INFO [app] text`, `- app - INFO - text`, `| INFO | app:f:1 - text`).
"""

from __future__ import annotations

import re

from atoll.telemetry.logs import levels
from atoll.telemetry.logs.ids import ids_in
from atoll.telemetry.logs.levels import SEVERITY, WORDS
from atoll.telemetry.logs.record import SCOPE_LIMIT, Parsed

_NAME = r"[\w.$<>/\-]{1,200}"
_BASIC = re.compile(rf"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?P<logger>{_NAME}):(?! {{2}})")
_DASHED = re.compile(rf"- (?P<logger>{_NAME}) - (?P<level>[A-Z]{{2,13}}) - ")
_DASHED_LEVEL = re.compile(rf"- (?P<level>{WORDS}) - (?:(?P<logger>[\w$]+(?:\.[\w$]+)+) - )?")
_LOGURU = re.compile(
    rf"\| (?P<level>[A-Z]{{2,13}}) *\| (?:(?P<logger>{_NAME}):(?P<function>{_NAME}):(?P<line>\d{{1,7}}) - )?"
)
_LEVEL = re.compile(rf"(?:\[(?P<boxed>(?i:{WORDS})) {{0,8}}\]|(?P<level>{WORDS}))(?::| {{0,8}})[ \t]*")
_BOX = re.compile(rf"\[(?P<boxed>{_NAME})\]:? ")
_NAMED = re.compile(r"(?P<logger>[A-Za-z_$][\w$]*(?:\.[\w$]+)*): ")
_DOTTED = re.compile(r"(?P<logger>[a-z_][\w]*(?:\.[\w]+)+) ")
_PLACE = re.compile(r"\[(?P<file>[\w.\-]{1,100}):(?P<line>\d{1,7})\] ")
_CONTEXT = re.compile(r"\[(?P<context>[\w.]{1,64}=[^\]]{0,400})\] ")


def parse(text: str) -> Parsed | None:
    """A line as `logging.basicConfig()` prints it."""
    match = _BASIC.match(text)
    if match is None:
        return None
    level = match["level"]
    return Parsed(text[match.end() :], SEVERITY[level], level, match["logger"][:SCOPE_LIMIT])


def behind_time(rest: str, found: dict[str, str]) -> Parsed | None:
    """What follows the time, when it names a level the way Python's loggers do; `found` already has the time."""
    if rest.startswith("- "):
        match = _DASHED.match(rest) or _DASHED_LEVEL.match(rest)
        return None if match is None else _of(match, rest[match.end() :], found)
    if rest.startswith("| "):
        match = _LOGURU.match(rest)
        if match is None:
            return None
        if match["function"]:
            found["code.function.name"], found["code.line.number"] = match["function"], match["line"]
        return _of(match, rest[match.end() :], found)
    match = _LEVEL.match(rest)
    if match is None:
        return None
    word = (match["boxed"] or match["level"]).upper()
    return _head(rest[match.end() :], word, found)


def _head(text: str, level: str, found: dict[str, str]) -> Parsed:
    """What follows the level: `[app]`, `app:` or `app.orders`, a place in the code, a context, a dash, the message."""
    scope = trace = span = ""
    if match := _BOX.match(text):
        scope, text = match["boxed"], text[match.end() :]
    elif match := _NAMED.match(text) or _DOTTED.match(text):
        scope, text = match["logger"], text[match.end() :]
    if match := _PLACE.match(text):
        found["code.file.path"], found["code.line.number"] = match["file"], match["line"]
        text = text[match.end() :]
    if match := _CONTEXT.match(text):
        trace, span = ids_in(match["context"])
        if not trace:
            found["log.context"] = match["context"]
        text = text[match.end() :]
    return Parsed(text.removeprefix("- "), SEVERITY[level], level, scope[:SCOPE_LIMIT], trace, span, found)


def _of(match: re.Match[str], body: str, found: dict[str, str]) -> Parsed | None:
    severity = levels.severity_of(match["level"])
    return (
        None
        if not severity
        else Parsed(body, severity, match["level"], (match["logger"] or "")[:SCOPE_LIMIT], attributes=found)
    )
