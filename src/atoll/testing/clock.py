"""A clock that only moves when the test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from atoll.kit.clock import Instant


class FakeClock:
    """Time under the test's hand: `advance` moves it and wakes the sleepers in order of their deadlines."""

    def __init__(self, *, now: float = 1000.0, wall: float = 1_795_000_000.0) -> None:
        self._now = now
        self._wall = wall
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> Instant:
        """The time the test has reached."""
        return Instant(self._now)

    def wall(self) -> float:
        """Wall time; moves with `advance`, jumps with `set_wall`."""
        return self._wall

    def set_wall(self, wall: float) -> None:
        """An operator (or NTP) set the wall clock; the monotonic clock does not notice."""
        self._wall = wall

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced far enough."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time forward, waking each sleeper at its moment and letting it run before the next."""
        await settle()
        end = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            moment, _, future = heapq.heappop(self._sleepers)
            self._move_to(max(self._now, moment))
            if not future.done():
                future.set_result(None)
            await settle()
        self._move_to(end)
        await settle()

    @property
    def sleepers(self) -> int:
        """How many wait for a moment that has not come."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def stall(self, seconds: float) -> None:
        """Time passes in which nobody runs, as after a SIGSTOP or in a blocked loop; sleepers wake late, in `advance`."""
        self._move_to(self._now + seconds)

    def _move_to(self, moment: float) -> None:
        self._wall += moment - self._now
        self._now = moment


async def settle(rounds: int = 20) -> None:
    """Let every ready task run until it waits for something (bounded: `rounds` turns of the loop)."""
    for _ in range(rounds):
        await asyncio.sleep(0)
