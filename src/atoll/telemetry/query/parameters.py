"""The parameters of a question, read once and strictly: one that is unknown, given twice or out of bounds is refused.

Every refusal names the parameter in its `field`. What is read here is data of a statement, never its text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from starlette.datastructures import QueryParams

from atoll.errors import InvalidValue
from atoll.kit.text import closest, scrub

NANO = 1_000_000_000
TEXT_LIMIT = 256
"""Characters of one text parameter."""
LATEST = 9_223_372_036 - 1
"""Seconds since 1970 that a 64-bit number of nanoseconds can say (the year 2262)."""


class Parameters:
    """The query string of one request; `known` are the names that its handler understands."""

    def __init__(self, given: QueryParams, known: Iterable[str]) -> None:
        names = tuple(known)
        for name in given:
            if name not in names:
                near = closest(name, names)
                raise refusal(
                    scrub(name, limit=40),
                    "is not known here",
                    f"did you mean {near}?" if near else f"there are: {', '.join(names)}",
                )
        self._given = given

    def all(self, name: str) -> list[str]:
        """Every value of a parameter that may be repeated."""
        return self._given.getlist(name)

    def text(self, name: str, *, limit: int = TEXT_LIMIT) -> str | None:
        """A text; None when it is not there or empty.

        Raises:
            InvalidValue: it is longer than `limit` characters, has a NUL, or stands there twice.
        """
        values = self.all(name)
        if len(values) > 1:
            raise refusal(name, "is given more than once", "give it once")
        if not values or not values[0]:
            return None
        return checked_text(name, values[0], limit=limit)

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number.

        Raises:
            InvalidValue: it is none, or outside the bounds.
        """
        said = self.text(name, limit=40)
        if said is None:
            return default
        if said.isascii() and said.isdigit() and len(said) <= 18 and least <= int(said) <= most:
            return int(said)
        raise refusal(name, f"{scrub(said, limit=40)!r} is not {least} to {most}", "give a whole number")

    def number(self, name: str, *, least: float = 0.0) -> float | None:
        """A number.

        Raises:
            InvalidValue: it is none, or below `least`.
        """
        said = self.text(name, limit=40)
        if said is None:
            return None
        value = _number(said)
        if value is None or value < least:
            raise refusal(name, f"{scrub(said, limit=40)!r} is not a number from {least:g} on", "give a number")
        return value

    def choice(self, name: str, options: tuple[str, ...], default: str) -> str:
        """One of a few words.

        Raises:
            InvalidValue: it is another one.
        """
        said = self.text(name)
        if said is None:
            return default
        if said not in options:
            raise refusal(name, f"{scrub(said, limit=40)!r} is not one of them", f"say {' or '.join(options)}")
        return said

    def moment(self, name: str, default: float) -> float:
        """A point in time in wall seconds: seconds since 1970, or ISO 8601 (UTC when it does not say).

        Raises:
            InvalidValue: it is neither, or outside 1970 to 2262.
        """
        said = self.text(name, limit=40)
        if said is None:
            return default
        value = _number(said)
        if value is None:
            try:
                found = datetime.fromisoformat(said.replace(" ", "+"))  # a plus sign in a query string means a space
                value = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
            except (ValueError, OverflowError):
                value = -1.0
        if not 0 <= value <= LATEST:
            raise refusal(
                name, f"{scrub(said, limit=40)!r} is not a time", "give seconds since 1970, or 2026-11-21T14:02:11Z"
            )
        return value


def checked_text(name: str, said: str, *, limit: int = TEXT_LIMIT) -> str:
    """`said`, when it can be the value of `name`.

    Raises:
        InvalidValue: it is longer than `limit` characters, or has a NUL.
    """
    if len(said) > limit:
        raise refusal(name, f"is longer than {limit} characters", "give a shorter one")
    if "\0" in said or not _encodes(said):
        raise refusal(name, "has a character that no text has", "leave out NUL and lone surrogates")
    return said


def refusal(name: str, what: str, hint: str) -> InvalidValue:
    """What is said of a parameter that cannot be used."""
    return InvalidValue(f"{name}: {what}", hint=hint, field=name)


def _encodes(said: str) -> bool:
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(said: str) -> float | None:
    try:
        value = float(said) if said.isascii() and "_" not in said else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
