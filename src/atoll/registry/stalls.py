"""Time in which this process could not listen, measured by how late the sweep loop wakes up.

SIGSTOP, a blocked loop and a starved machine look the same from inside: a sleep that took too long. The stall may have
begun anywhere in that sleep, so the whole of it is credited; lateness below `THRESHOLD` is noise and is not.
"""

from __future__ import annotations

from atoll.kit.clock import Instant
from atoll.registry.expiry import Stall

STEP = 0.25
"""Seconds between two looks at the clock: the most that a credit can exceed the stall by."""
THRESHOLD = 0.25
"""Seconds of lateness that count as a stall; a loaded but working machine stays below."""
LIMIT = 256
"""Stalls kept apart; older ones are merged (which credits the time between them as well)."""
HORIZON = 2 * 3600.0
"""Seconds after which a stall is forgotten: two of the longest TTLs."""


class StallMeter:
    """The stalls of this process, and the lag of its loop."""

    def __init__(self) -> None:
        self.stalls: list[Stall] = []
        self.lag = 0.0
        self.lag_most = 0.0
        self.stalled = 0.0
        """Seconds credited in all."""

    def woke(self, slept_from: Instant, planned: float, now: Instant) -> bool:
        """Take note of one sleep that should have lasted `planned` seconds; tells whether it was a stall."""
        self.lag = max(0.0, now - slept_from - planned)
        self.lag_most = max(self.lag_most, self.lag)
        if self.lag < THRESHOLD:
            return False
        self.stalled += now - slept_from
        if self.stalls and slept_from - self.stalls[-1].end < THRESHOLD:
            self.stalls[-1] = Stall(self.stalls[-1].start, now)
        else:
            self.stalls.append(Stall(slept_from, now))
        if len(self.stalls) > LIMIT:
            self.stalls[:2] = [Stall(self.stalls[0].start, self.stalls[1].end)]
        while now - self.stalls[0].end > HORIZON:
            del self.stalls[0]
        return True
