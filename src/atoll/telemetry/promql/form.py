"""Parameters of Prometheus' API: in the query string, in a form that is posted, or in both."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.requests import Request

from atoll.errors import BadRequest, TooLarge
from atoll.telemetry.metrics.series import Matcher
from atoll.telemetry.promql.parse import parse_matchers

FORM_BYTES = 256 << 10
"""Bytes of a posted form."""
FIELDS = 1000
"""Parameters of one request."""
FIRST, LAST = 0, 4_102_444_800_000
"""Milliseconds: the times that stand for "from the beginning" and "to the end" (the year 2100)."""
FAR = 253_402_300_800.0
"""Seconds; a time beyond is taken for it."""
_STAMP = re.compile(r"(-?\d{4,9})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,12}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
_DURATION = re.compile(r"(\d{1,15})(ms|[smhdwy])", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


class BadParameter(BadRequest):
    """A parameter that cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f'invalid parameter "{name}": {reason}', field=name)


class Form:
    """What was asked, with the posted values first."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    def get(self, name: str, default: str = "") -> str:
        """The first value."""
        return next((value for key, value in self._pairs if key == name), default)

    def all(self, name: str) -> list[str]:
        """Every value."""
        return [value for key, value in self._pairs if key == name]

    def time(self, name: str, default: int | None = None) -> int:
        """Milliseconds; Unix seconds or RFC 3339 are read.

        Raises:
            BadParameter: neither of both.
        """
        text = self.get(name)
        if not text and default is not None:
            return default
        read = _time(text)
        if read is None:
            raise BadParameter(name, f'cannot parse "{text}" to a valid timestamp')
        return read

    def duration(self, name: str, default: int | None = None) -> int:
        """Milliseconds; seconds or `1h30m` are read.

        Raises:
            BadParameter: neither of both.
        """
        text = self.get(name)
        if not text and default is not None:
            return default
        read = _duration(text)
        if read is None:
            raise BadParameter(name, f'cannot parse "{text}" to a valid duration')
        return read

    def limit(self, name: str = "limit") -> int:
        """A number of items; 0 is no limit.

        Raises:
            BadParameter: not a number from 0 on.
        """
        text = self.get(name)
        if not text:
            return 0
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise BadParameter(name, "limit must be a non-negative number")
        return int(text)

    def matchers(self) -> list[tuple[Matcher, ...]]:
        """The selectors of `match[]`.

        Raises:
            ParseError: one of them is none.
        """
        return [parse_matchers(text) for text in self.all("match[]")]


async def read_form(request: Request) -> Form:
    """The parameters of a request.

    Raises:
        BadRequest: not a form, or not UTF-8.
        TooLarge: the form is too long.
    """
    content = bytearray()
    if request.method == "POST":
        async for piece in request.stream():
            content += piece
            if len(content) > FORM_BYTES:
                raise TooLarge(f"the form is over {FORM_BYTES} bytes")
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content and media != "application/x-www-form-urlencoded":
            raise BadRequest("a POST carries a form", hint="send Content-Type: application/x-www-form-urlencoded")
    return Form([*_pairs(bytes(content)), *_pairs(request.scope["query_string"])])


def _pairs(content: bytes) -> list[tuple[str, str]]:
    try:
        text = content.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS)
    except ValueError:
        raise BadRequest("the parameters are not a form in UTF-8") from None


def _time(text: str) -> int | None:
    if _NUMBER.fullmatch(text):
        number = float(text)
        return round(max(-FAR, min(FAR, number)) * 1000) if math.isfinite(number) else round(FAR * 1000)
    found = _STAMP.fullmatch(text)
    if found is None:
        return None
    year = int(found[1])
    if not 1 <= year <= 9999:  # promtool's "from the beginning" and "to the end"
        return FIRST if year < 1 else LAST
    try:
        whole = datetime.fromisoformat(
            f"{year:04}-{found[2]}-{found[3]}T{found[4]}:{found[5]}:{found[6]}{found[8].upper()}"
        )
        since = whole.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (since.days * 86_400 + since.seconds) * 1000 + int(f"{found[7] or '0':0<3}"[:3])


def _duration(text: str) -> int | None:
    if _NUMBER.fullmatch(text):
        number = float(text)
        return round(number * 1000) if abs(number) < FAR else None
    total, at = 0, 0
    for found in _DURATION.finditer(text):
        if found.start() != at:
            return None
        total += int(found[1]) * _UNITS[found[2]]
        at = found.end()
    return total if at and at == len(text) and total < FAR * 1000 else None
