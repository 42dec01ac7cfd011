"""Which traces are worth keeping longer: a decision about a whole trace, made when it is complete. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from atoll.errors import InvalidValue
from atoll.settings import Tail

NANOSECONDS = 1e9
RANDOM_DIGITS = 14
"""Hex digits at the end of a trace id that W3C's Trace Context wants to be random."""


class Reason(StrEnum):
    """Why a trace is kept."""

    ERROR = "error"
    SLOW = "slow"
    DEGRADED = "degraded"
    SHARE = "share"


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What the rules look at."""

    id: str
    """32 hex digits."""
    failed: bool = False
    """A span has status error, or a 5xx was answered."""
    degraded: bool = False
    """A request was tried elsewhere, or met a breaker or a fallback."""
    longest: Mapping[str, int] = field(default_factory=dict)
    """The duration of each service's longest span, in ns."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The settings `ATOLL_TAIL_…`, read."""

    errors: bool = True
    degraded: bool = True
    slow: float = 0.0
    """Nanoseconds; 0: no span is slow."""
    slow_services: Mapping[str, float] = field(default_factory=dict)
    """Nanoseconds; for its service a number here stands in for `slow`."""
    share: float = 0.0


def read(knobs: Tail) -> Rules:
    """The rules that the settings ask for.

    Raises:
        InvalidValue: a duration or share cannot be one.
    """
    if not 0 <= knobs.share <= 1:
        raise InvalidValue("ATOLL_TAIL_SHARE is a share, from 0 to 1", found=knobs.share)
    if not knobs.slow >= 0:
        raise InvalidValue("ATOLL_TAIL_SLOW is a number of seconds", found=knobs.slow)
    return Rules(
        errors=knobs.errors,
        degraded=knobs.degraded,
        slow=knobs.slow * NANOSECONDS,
        slow_services=dict(_service(word) for word in knobs.slow_services.replace(",", " ").split()),
        share=knobs.share,
    )


def _service(word: str) -> tuple[str, float]:
    name, _, seconds = word.partition("=")
    try:
        slow = float(seconds)
    except ValueError:
        slow = -1.0
    if not name or not slow > 0:
        raise InvalidValue(
            f"ATOLL_TAIL_SLOW_SERVICES does not say after how many seconds a service is slow: {word}",
            hint="orders=0.3 search=2",
        )
    return name, slow * NANOSECONDS


def decide(trace: Trace, rules: Rules) -> Reason | None:
    """Why `trace` is kept, or None. The same trace and rules give the same answer, so deciding again is harmless; more
    spans can only turn None into a reason.
    """
    if rules.errors and trace.failed:
        return Reason.ERROR
    if any(_slow(service, longest, rules) for service, longest in trace.longest.items()):
        return Reason.SLOW
    if rules.degraded and trace.degraded:
        return Reason.DEGRADED
    if int(trace.id[-RANDOM_DIGITS:], 16) < rules.share * 16**RANDOM_DIGITS:
        return Reason.SHARE
    return None


def _slow(service: str, longest: int, rules: Rules) -> bool:
    limit = rules.slow_services.get(service, rules.slow)
    return 0 < limit <= longest
