"""Bounded load: so many calls a second at most, so many in all, so many seconds; whichever ends first."""

from __future__ import annotations

from collections.abc import AsyncIterator

from atoll.kit.clock import Clock, SystemClock

RATE_LIMIT = 500.0
"""Calls a second that any driver makes at most: the machines have two cores."""


async def paced(rate: float, *, calls: int, seconds: float, clock: Clock | None = None) -> AsyncIterator[int]:
    """Count up at `rate` per second; ends by itself. Late callers do not catch up: load stays bounded after a pause."""
    time = clock or SystemClock()
    gap, start = 1.0 / min(rate, RATE_LIMIT), time.now()
    due: float = start
    for number in range(calls):
        now = time.now()
        if now - start >= seconds:
            return
        if due > now:
            await time.sleep(due - now)
        due = max(due, now) + gap
        yield number
