"""Records as lines of ClickHouse's TSV: the cheapest way in for text (0.6 µs a row to write, 4 to 5 to insert).

Everything from outside is escaped here and nowhere else; a byte of any value comes back as it was.
"""

from __future__ import annotations

import time

from atoll.telemetry.logs.record import Parsed

COLUMNS = (
    "Timestamp",
    "TraceId",
    "SpanId",
    "SeverityNumber",
    "SeverityText",
    "ServiceName",
    "InstanceId",
    "Source",
    "Body",
    "LogAttributes",
    "ScopeName",
    "Run",
)
_SPECIAL = {
    "\\": "\\\\",
    "\t": "\\t",
    "\n": "\\n",
    "\r": "\\r",
    "\0": "\\0",
    "\b": "\\b",
    "\f": "\\f",
    "'": "\\'",
}
_TABLE = str.maketrans(_SPECIAL)
_BYTES = {ord(character): escaped for character, escaped in _SPECIAL.items()}
LATEST = 9_223_372_035
"""Seconds since 1970 that a DateTime64(9) holds; what is outside is not a time."""


def escaped(text: str) -> str:
    """`text` as a value of TSV, or inside the quotes of a map."""
    if text.isprintable() and "\\" not in text and "'" not in text:
        return text
    return text.translate(_TABLE)


def escaped_id(text: str) -> str:
    """An id of hex digits as the bytes it means, one character a byte (the row is encoded as Latin-1 there)."""
    return "".join(_BYTES.get(byte, chr(byte)) for byte in bytes.fromhex(text)) if text else ""


def mapped(attributes: dict[str, str] | None) -> str:
    """Attributes as a map."""
    if not attributes:
        return "{}"
    return "{" + ",".join([f"'{escaped(key)}':'{escaped(value)}'" for key, value in attributes.items()]) + "}"


class Stamps:
    """Wall seconds as ClickHouse reads them, in UTC; the second's text is kept, for most lines share it."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, wall: float, extra: int) -> str:
        """`wall` to the millisecond, and `extra` nanoseconds behind it."""
        millis = round(wall * 1000)
        second, millis = divmod(millis, 1000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(min(max(second, 0), LATEST)))
        return f"{self._text}.{millis:03d}{extra:06d}"


def row(stamp: str, told: Parsed, whose: str, run: str, *, note: str = "") -> bytes:
    """One line of TSV in the order of COLUMNS. `whose`: escaped service, instance and source with tabs between."""
    rest = (
        f"\t{told.severity}\t{told.level}\t{whose}\t{escaped(told.body)}\t{mapped(told.attributes)}"
        f"\t{note or escaped(told.scope)}\t{run}\n"
    ).encode("utf-8", "replace")
    if not told.trace:
        return stamp.encode() + b"\t\t" + rest
    return f"{stamp}\t{escaped_id(told.trace)}\t{escaped_id(told.span)}".encode("latin-1") + rest
