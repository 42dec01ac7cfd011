"""What callers of a service are protected by: its circuit breaker, and what an operator said of it.

A breaker opens when the service failed too often or was too slow too often, lets a few probes through after a while, and
closes when they all succeeded. What fails is an answer of 500 or above, the gateway's own 502, 503 and 504 for the service
included, unless other statuses are named; never a 4xx that is not. HAProxy counts in whole seconds, so durations are
whole seconds here (a part of one counts as one); only how long an answer takes is told in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from atoll.kit.text import scrub

WINDOW_CEILING = 60
"""Seconds."""
OPEN_CEILING = 3600
"""Seconds."""
SLOW_FLOOR = 0.001
"""Seconds."""
COUNT_CEILING = 1_000_000
PROBES_CEILING = 1000
WORD_CEILING = 30 * 86_400.0
"""Seconds an operator's word may hold."""
MOMENT_CEILING = 4_000_000_000
"""Epoch seconds; HAProxy's table holds 32 bits."""
REASON_LIMIT = 200
"""Characters."""


class SlowCalls(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When answers that come are a reason to keep callers away."""

    longer_than: float = 1.0
    """Seconds from the last attempt's sending to the head of its answer."""
    share: int = 50
    """Percent of the requests of a window that must have been slow, 1 to 100."""


FAILURES = ("5xx",)
"""What counts as failed unless somebody names other statuses."""


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
    open: float = 3.0
    """How long nobody is let through before it is tried again."""
    probes: int = 3
    """Requests let through to try; when all succeed it closes, when one fails or is slow it opens again."""
    slow_calls: SlowCalls | None = None
    """None: nothing is timed."""
    failures: tuple[str, ...] = FAILURES
    """Statuses: `4xx`, `5xx`, `timeout` (504) or a number from 400 to 599."""

    @property
    def watchful(self) -> bool:
        """Whether it must look at answers although nothing has failed by the usual measure."""
        return self.enabled and (self.slow_calls is not None or self.failures != FAILURES)


def breaker_problems(said: Breaker) -> Iterator[tuple[str, str]]:
    """What is absurd in `said`: field and reason."""
    yield from _whole("errors", said.errors, 1, 100, " percent")
    yield from _seconds("window", said.window, WINDOW_CEILING)
    yield from _whole("min_requests", said.min_requests, 1, COUNT_CEILING)
    yield from _seconds("open", said.open, OPEN_CEILING)
    yield from _whole("probes", said.probes, 1, PROBES_CEILING)
    if said.slow_calls is not None:
        yield from _whole("slow_calls.share", said.slow_calls.share, 1, 100, " percent")
        if not SLOW_FLOOR <= said.slow_calls.longer_than <= OPEN_CEILING:
            yield (
                "slow_calls.longer_than",
                f"{said.slow_calls.longer_than:g} is not {SLOW_FLOOR:g} to {OPEN_CEILING} seconds",
            )
    if not said.failures:
        yield "failures", "with no statuses it would never open; leave it out, or switch the breaker off"
    for each in said.failures:
        if not _statuses(each):
            yield "failures", f"`{scrub(each, limit=20)}` is not `4xx`, `5xx`, `timeout` or a status from 400 to 599"


def failing_statuses(said: Breaker) -> tuple[int, ...]:
    """The statuses that count as failed, in order."""
    return tuple(sorted({status for each in said.failures for status in _statuses(each)}))


def _statuses(word: str) -> Iterable[int]:
    if word in {"4xx", "5xx"}:
        return range(int(word[0]) * 100, int(word[0]) * 100 + 100)
    if word == "timeout":
        return (504,)
    return (int(word),) if len(word) == 3 and word.isascii() and word.isdigit() and "400" <= word <= "599" else ()


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
