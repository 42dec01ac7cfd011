"""What a printed line says: its message, level, logger, trace and attributes. Pure, never raises, linear in the line.

A line is asked of the formats that its first character allows; what nobody knows is plain text, in which a level and a
trace id may still be named. Nothing is lost: what is not in the body is in a column or an attribute.
"""

from __future__ import annotations

from collections.abc import Callable

from atoll.telemetry.logs import levels
from atoll.telemetry.logs.ansi import bare
from atoll.telemetry.logs.formats import access, golang, gunicorn, json_lines, logfmt, stamped, stdlib, uvicorn
from atoll.telemetry.logs.ids import ids_in
from atoll.telemetry.logs.record import Parsed

LINE_LIMIT = 64 << 10
"""Characters of a line that are looked at and kept; keepers cut earlier."""

Format = Callable[[str], Parsed | None]

_LEVEL_LED: tuple[Format, ...] = (uvicorn.parse, stdlib.parse)
_BY_FIRST: dict[str, tuple[Format, ...]] = {
    "{": (json_lines.parse,),
    "[": (gunicorn.parse, stamped.parse, access.parse),
    **dict.fromkeys("0123456789", (stamped.parse, access.parse)),
    **dict.fromkeys("DC", _LEVEL_LED),
    **dict.fromkeys("IWE", (*_LEVEL_LED, golang.klog)),
    "F": (golang.klog,),
    "T": (uvicorn.parse,),
    ":": (access.parse,),
}


def parse_line(text: str) -> Parsed:
    """One line, without its newline."""
    if "\x1b" in text:
        text = bare(text)
    if len(text) > LINE_LIMIT:
        text = text[:LINE_LIMIT]
    for known in _BY_FIRST.get(text[:1], ()):
        found = known(text)
        if found is not None:
            return _with_ids(found)
    if "=" in text and (found := logfmt.parse(text)) is not None:
        return found
    severity, level = levels.in_text(text)
    trace, span = ids_in(text)
    return Parsed(text, severity, level, trace=trace, span=span)


def _with_ids(found: Parsed) -> Parsed:
    if found.trace or not found.body:
        return found
    trace, span = ids_in(found.body)
    return found._replace(trace=trace, span=span) if trace else found
