"""When leases lapse. Owns the deadlines of one store, in monotonic time; never on disk: they start anew at each open.

A lease is not charged for time in which this process could not listen: what a late wake-up shows to have been lost
(a paused process, a blocked loop) is given back to every lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from atoll.errors import LeaseExpired
from atoll.kit.clock import Clock, Instant
from atoll.store.base import TTL_FLOOR

LATE = 0.5
"""Seconds a wake-up may come late before the delay counts as a stall."""


class Deadlines:
    """The deadline of every lease."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[str, tuple[Instant, float]] = {}
        self._some = asyncio.Event()

    def start(self, lease: str, ttl: float) -> None:
        """Give a lease its `ttl` seconds, from now."""
        self._ends[lease] = (Instant(self._clock.now() + ttl), ttl)
        self._some.set()

    def renew(self, lease: str) -> float:
        """Start its TTL anew; returns it.

        Raises:
            LeaseExpired: it is not known (any more).
        """
        if lease not in self._ends:
            raise LeaseExpired("the lease is not known (any more)", hint="grant a new one")
        ttl = self._ends[lease][1]
        self.start(lease, ttl)
        return ttl

    def stop(self, leases: Iterable[str]) -> None:
        """Forget leases that ended."""
        for lease in leases:
            self._ends.pop(lease, None)
        if not self._ends:
            self._some.clear()

    def over(self, lease: str) -> bool:
        """Whether a lease's time is over."""
        return lease in self._ends and self._ends[lease][0] <= self._clock.now()

    async def next(self) -> list[str]:
        """Wait until at least one lease is over; returns all that are, the earliest first."""
        while True:
            while not self._ends:  # one that was granted and revoked at once wakes us for nothing
                await self._some.wait()
            now = self._clock.now()
            over = sorted((end, lease) for lease, (end, _) in self._ends.items() if end <= now)
            if over:
                return [lease for _, lease in over]
            # No lease is shorter than TTL_FLOOR, so one that is granted while we sleep is not overslept.
            left = min(TTL_FLOOR, min(end for end, _ in self._ends.values()) - now)
            await self._clock.sleep(left)
            self._forgive(self._clock.now() - now - left)

    def _forgive(self, stall: float) -> None:
        if stall > LATE:
            self._ends = {lease: (Instant(end + stall), ttl) for lease, (end, ttl) in self._ends.items()}
