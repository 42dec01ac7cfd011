"""What `atoll logs` was asked for: its options as one value, checked; as parameters of the API, and as a filter of
lines when only files can be read.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from atoll.errors import InvalidValue
from atoll.kit.text import scrub
from atoll.model.names import ServiceName

TAIL = 100
"""Lines shown when nothing is said about how many."""
LEVELS = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "warning": 13, "error": 17, "fatal": 21, "critical": 21}
"""What `--level` takes, as OTLP's severity numbers."""
_TRACE = re.compile(r"[0-9a-fA-F]{32}")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Times in wall seconds; `count` None: all."""

    services: tuple[ServiceName, ...] = ()
    instances: tuple[str, ...] = ()
    level: str = ""
    grep: str = ""
    word: bool = False
    """`grep` is whole words that all occur, instead of a regular expression."""
    trace: str = ""
    since: float | None = None
    until: float | None = None
    count: int | None = TAIL
    platform: bool = False
    """What atoll's own processes print, instead of the services."""

    def query(self, *, live: bool = False) -> list[tuple[str, object]]:
        """As parameters of `/api/v1/logs`; `live`: without the times, for what is still to come."""
        sources = ("platform",) if self.platform else ("otlp", "stdout")
        found: list[tuple[str, object]] = [("source", source) for source in sources]
        found += [("service", name) for name in self.services]
        found += [("instance", name) for name in self.instances]
        single: tuple[tuple[str, object], ...] = (
            ("level", self.level),
            ("words" if self.word else "grep", self.grep),
            ("trace", self.trace),
        )
        if not live:
            single += (("since", self.since or ""), ("until", self.until or ""))
        return found + [(name, value) for name, value in single if value]

    @property
    def least(self) -> int:
        """The severity number that a record must have at least; 0: any."""
        return LEVELS.get(self.level, 0)

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """What a line must match, when only files can be read.

        Raises:
            InvalidValue: it is no regular expression.
        """
        if not self.grep:
            return None
        if self.word:
            return re.compile("".join(rf"(?=.*\b{re.escape(word)}\b)" for word in self.grep.split()), re.DOTALL)
        try:
            return re.compile(self.grep)
        except re.error as error:
            raise InvalidValue(
                f"--grep: {error}", hint="it is a regular expression; quote ( ) [ ] . * with a backslash"
            ) from None


def checked_level(level: str | None) -> str:
    """A level that is known.

    Raises:
        InvalidValue: it is not.
    """
    known = (level or "").lower()
    if known and known not in LEVELS:
        raise InvalidValue(f"--level: {scrub(known, limit=40)!r} is no level", hint=f"say one of {', '.join(LEVELS)}")
    return known


def checked_trace(trace: str | None) -> str:
    """A trace id in lower-case hex.

    Raises:
        InvalidValue: it is none.
    """
    if trace and not _TRACE.fullmatch(trace):
        raise InvalidValue(f"--trace: {scrub(trace, limit=40)!r} is no trace id", hint="give 32 hex digits")
    return (trace or "").lower()


def checked_count(tail: str | None, *, everything: bool) -> int | None:
    """How many lines; None: all.

    Raises:
        InvalidValue: it is no number.
    """
    if tail is None:
        return None if everything else TAIL
    if tail == "all":
        return None
    if not (tail.isascii() and tail.isdigit()) or len(tail) > 9:
        raise InvalidValue(f"--tail: {scrub(tail, limit=40)!r} is no number of lines", hint="write 100, or all")
    return int(tail)


def unknown_among(wanted: Collection[ServiceName], logged: Collection[str]) -> ServiceName | None:
    """The first service that nobody has heard of."""
    return next((name for name in wanted if name not in logged), None)
