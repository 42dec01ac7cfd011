"""The one reader of time and the one sleeper.

Durations come from the monotonic clock (`now`), which no operator can set; wall time (`wall`) is for people and for
history. Everything that waits takes a `Clock`, so tests own time (see `atoll.testing.FakeClock`).
"""

from __future__ import annotations

import asyncio
import time
from typing import NewType, Protocol

Instant = NewType("Instant", float)
"""A point on the monotonic clock, in seconds. Only differences mean anything; they stop with the process."""


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> Instant:
        """Monotonic seconds; never goes back."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump. For people, never for durations."""

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less only yields to other tasks."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> Instant:
        """Monotonic seconds."""
        return Instant(time.monotonic())

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(max(0.0, seconds))
