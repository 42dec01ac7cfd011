"""What callers of a service are protected by: its circuit breaker, and what an operator said of it.

A breaker opens when the service failed too often, lets a few probes through after a while, and closes when they all
succeeded. What fails is an answer of 500 or above, the gateway's own 502, 503 and 504 for the service included; never
a 4xx. HAProxy counts in whole seconds, so durations are whole seconds here (a part of one counts as one).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum

import msgspec

WINDOW_CEILING = 60
"""Seconds."""
OPEN_CEILING = 3600
"""Seconds."""
COUNT_CEILING = 1_000_000
PROBES_CEILING = 1000
WORD_CEILING = 30 * 86_400.0
"""Seconds an operator's word may hold."""
MOMENT_CEILING = 4_000_000_000
"""Epoch seconds; HAProxy's table holds 32 bits."""
REASON_LIMIT = 200
"""Characters."""


class Breaker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When callers are kept from a service that fails. Durations in seconds."""

    enabled: bool = False
    """Off until asked for: what an open breaker answers is for a team to decide."""
    errors: int = 50
    """Percent of the requests of a window that must have failed for it to open, 1 to 100."""
    window: float = 10.0
    """How long requests are counted together; then counting begins anew."""
    min_requests: int = 20
    """Fewer requests in a window say nothing."""
    open: float = 15.0
    """How long nobody is let through before it is tried again."""
    probes: int = 3
    """Requests let through to try; when all succeed it closes, when one fails it opens again."""


def breaker_problems(said: Breaker) -> Iterator[tuple[str, str]]:
    """What is absurd in `said`: field and reason."""
    yield from _whole("errors", said.errors, 1, 100, " percent")
    yield from _seconds("window", said.window, WINDOW_CEILING)
    yield from _whole("min_requests", said.min_requests, 1, COUNT_CEILING)
    yield from _seconds("open", said.open, OPEN_CEILING)
    yield from _whole("probes", said.probes, 1, PROBES_CEILING)


def word_problems(said: BreakerWord) -> Iterator[tuple[str, str]]:
    """What is absurd in `said`: field and reason."""
    for field in ("until", "since", "reset"):
        value = getattr(said, field)
        if not 0 <= value <= MOMENT_CEILING:
            yield field, f"{value:g} is no moment"
    if said.state not in {None, BreakerState.OPEN, BreakerState.CLOSED}:
        yield "state", f"{said.state} cannot be forced"
    if len(said.reason) > REASON_LIMIT:
        yield "reason", f"it has more than {REASON_LIMIT} characters"


def whole_seconds(duration: float) -> int:
    """A duration as HAProxy counts it."""
    return math.ceil(duration)


def _whole(field: str, value: int, least: int, most: int, unit: str = "") -> Iterator[tuple[str, str]]:
    if not least <= value <= most:
        yield field, f"{value} is not a whole number from {least} to {most}{unit}"


def _seconds(field: str, value: float, most: int) -> Iterator[tuple[str, str]]:
    if not 1 <= value <= most:  # NaN fails too
        yield field, f"{value:g} is not 1 to {most} seconds"


class BreakerState(StrEnum):
    """What a breaker does with requests."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class BreakerWord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an operator said of a service's breaker. Wall seconds; the word ends by itself."""

    state: BreakerState | None = None
    """`open` or `closed`, whatever the service does; None: nothing is forced."""
    until: float = 0.0
    reason: str = ""
    since: float = 0.0
    """When it was said."""
    reset: float = 0.0
    """A breaker that opened before this moment is closed and counts anew (`atoll breakers reset`)."""

    def holds(self, wall: float) -> BreakerState | None:
        """The forced state at `wall`, if any."""
        return self.state if wall < self.until else None
