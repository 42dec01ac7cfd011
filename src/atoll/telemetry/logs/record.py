"""What a printed line says: the message without its head, and what the head told. Plain values, bounded in number and
size; what is beyond a bound is cut, and the record says so in `atoll.cut`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

ATTRIBUTES = 48
"""Attributes of one record at most."""
KEY_LIMIT = 96
"""Characters of an attribute's name."""
VALUE_LIMIT = 2048
"""Characters of an attribute's value."""
DEPTH = 3
"""Levels of nested objects that become `outer.inner`; what is deeper stays JSON."""
SCOPE_LIMIT = 128
"""Characters of a logger's name."""
CUT = "atoll.cut"
"""Attribute of a record of which something was cut: how many attributes, names, values or bytes of text."""
TIME = "log.time"
"""Attribute: the time that the line itself told. Never the record's time: the service's clock may be wrong."""


class Parsed(NamedTuple):
    """A line that was understood. `severity` is OTLP's number, 0 when nothing is known; ids are lower-case hex or ''."""

    body: str
    severity: int = 0
    level: str = ""
    """The level as a word in capitals; empty when the line had none that we know."""
    scope: str = ""
    """Who logs: the logger's name."""
    trace: str = ""
    span: str = ""
    attributes: dict[str, str] | None = None


class Attributes:
    """Gathers attributes within the bounds; counts what it cuts."""

    __slots__ = ("cut", "found")

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.cut = 0

    def add(self, key: str, value: Any, depth: int = 1) -> None:
        """Take a value of JSON; objects become several attributes."""
        if isinstance(value, dict) and depth < DEPTH and value:
            for name, inner in value.items():
                if len(self.found) >= ATTRIBUTES:
                    self.cut += 1
                    break
                self.add(f"{key}.{name}", inner, depth + 1)
            return
        if len(self.found) >= ATTRIBUTES or len(key) > KEY_LIMIT:
            self.cut += 1
            return
        text = as_text(value)
        if len(text) > VALUE_LIMIT:
            self.cut += 1
            text = text[:VALUE_LIMIT]
        self.found[key] = text

    def done(self) -> dict[str, str]:
        """What was gathered."""
        if self.cut:
            self.found[CUT] = str(self.cut)
        return self.found


def as_text(value: Any) -> str:
    """A value of JSON as an attribute shows it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, (dict, list)):
        return msgspec.json.encode(value).decode()
    return str(value)
