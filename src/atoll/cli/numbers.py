"""Numbers, durations and moments as people type and read them."""

from __future__ import annotations

import datetime as dt
import math
import re

from atoll.errors import InvalidValue
from atoll.kit.text import scrub

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def seconds(text: str, *, name: str) -> float:
    """A duration in seconds from `90`, `1.5s`, `500ms`, `5m` or `1h30m`.

    Raises:
        InvalidValue: anything else, or nothing above zero.
    """
    total = 0.0
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text):
        total = float(text)
    elif re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        total = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    if not 0 < total < math.inf:
        raise InvalidValue(
            f"{name}: {scrub(text, limit=40)!r} is not a duration", hint="write it as 30, 30s, 5m or 1h30m", field=name
        )
    return total


def moment(text: str, *, wall: float, name: str) -> float:
    """Wall time (seconds since 1970) from a duration ago (`5m`), or an ISO date and time (local, unless it says more).

    Raises:
        InvalidValue: it is neither.
    """
    if re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        return wall - seconds(text, name=name)
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InvalidValue(
            f"{name}: {scrub(text, limit=40)!r} is neither a duration nor a time",
            hint="write 10m (ago), or 2026-11-21T14:30:00",
            field=name,
        ) from None


def age(duration: float) -> str:
    """A duration for a table: `4s`, `12m`, `3h`, `2d`."""
    for limit, unit, size in ((60, "s", 1), (3600, "m", 60), (86400, "h", 3600)):
        if duration < limit:
            return f"{max(0, int(duration)) // size}{unit}"
    return f"{int(duration) // 86400}d" if math.isfinite(duration) else "?"


def clock_time(wall: float) -> str:
    """Wall time as local ISO date and time, to the second; empty for 0 (never)."""
    if not wall:
        return ""
    try:
        return dt.datetime.fromtimestamp(wall).astimezone().isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "?"


def size(count: float) -> str:
    """Bytes for a table: `512B`, `14M`, `1.2G`."""
    for unit in ("B", "k", "M"):
        if count < 1024:
            return f"{count:.0f}{unit}"
        count /= 1024
    return f"{count:.1f}G"


def took(ms: float) -> str:
    """Milliseconds for a table, with three significant digits: `0.42 ms`, `18.3 ms`, `1240 ms`, `12.3 s`."""
    if not math.isfinite(ms):
        return "?"
    value, unit = (ms, "ms") if abs(ms) < 9999.5 else (ms / 1000, "s")
    if abs(value) >= 99.95:
        return f"{value:.0f} {unit}"
    return f"{value:#.3g}".rstrip(".") + f" {unit}" if abs(value) >= 0.001 else f"0 {unit}"


def of_iso(text: str) -> float:
    """Wall seconds of an ISO 8601 moment that the API said; NaN when it is none."""
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return math.nan


def to_the_millisecond(wall: float) -> str:
    """Wall time as local date and time with milliseconds; `?` when there is none."""
    try:
        return dt.datetime.fromtimestamp(wall).astimezone().isoformat(sep=" ", timespec="milliseconds")[:23]
    except (ValueError, OverflowError, OSError):
        return "?"
