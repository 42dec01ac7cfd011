"""Access lines: of uvicorn, and in the Common or Combined Log Format (nginx, Apache, gunicorn, werkzeug, Django)."""

from __future__ import annotations

import re

from atoll.telemetry.logs.levels import ERROR, INFO, WARN
from atoll.telemetry.logs.record import TIME, VALUE_LIMIT, Parsed

_REQUEST = r"\"(?P<method>[A-Z]{1,20}) (?P<target>[^\"]*?)(?: HTTP/(?P<version>[0-9.]{1,4}))?\""
_CLF = re.compile(
    r"(?P<client>\S{1,100}) \S{1,64} \S{1,64} \[(?P<time>\d\d/\w{3}/\d{4}[: ][^\]]{8,20})\] "
    + _REQUEST
    + r" (?P<status>\d{3}) (?P<size>\d+|-)(?: \"(?P<referer>[^\"]*)\" \"(?P<agent>[^\"]*)\")?"
)
_UVICORN = re.compile(r"(?P<client>\S{0,100}) - " + _REQUEST + r" (?P<status>\d{3})(?: [A-Za-z' -]*)?$")
_DJANGO = re.compile(r"\[(?P<time>\d\d/\w{3}/\d{4} [^\]]{8,20})\] " + _REQUEST + r" (?P<status>\d{3}) (?P<size>\d+)")
_NAMES = {
    "client": "client.address",
    "method": "http.request.method",
    "target": "url.path",
    "version": "network.protocol.version",
    "status": "http.response.status_code",
    "size": "http.response.body.size",
    "referer": "http.request.header.referer",
    "agent": "user_agent.original",
    "time": TIME,
}


def parse(text: str) -> Parsed | None:
    """A line in the Common or Combined Log Format, or Django's."""
    match = (_DJANGO if text.startswith("[") else _CLF).match(text)
    return None if match is None else _of(match, text, "")


def uvicorn(text: str, severity: int, level: str) -> Parsed | None:
    """What stands behind the level of uvicorn's access log. The body is what its logger was told, so without the
    phrase behind the status, which only the printed line has.
    """
    match = _UVICORN.match(text)
    if match is None:
        return None
    return _of(match, text[: match.end("status")], "uvicorn.access")._replace(severity=severity, level=level)


def _of(match: re.Match[str], body: str, scope: str) -> Parsed:
    status = int(match["status"])
    severity, level = (ERROR, "ERROR") if status >= 500 else (WARN, "WARN") if status >= 400 else (INFO, "INFO")
    told = match.groupdict()
    found = {_NAMES[name]: value[:VALUE_LIMIT] for name, value in told.items() if value and value != "-"}
    path, question, query = found.get("url.path", "").partition("?")
    if question:
        found["url.path"], found["url.query"] = path, query
    return Parsed(body, severity, level, scope, attributes=found)
