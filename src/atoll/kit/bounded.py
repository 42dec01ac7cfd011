"""A queue with a limit and a counter. At the limit the producer is refused; nothing waits, nothing grows."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class QueueFull(Exception):
    """The queue holds `limit` items; the caller decides what that means (resync, refuse, count)."""


class Bounded(Generic[T]):
    """First in, first out, at most `limit` items; `refused` counts what did not fit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.refused = 0
        self._items: deque[T] = deque()
        self._arrived = asyncio.Event()

    def put(self, item: T) -> None:
        """Append without waiting.

        Raises:
            QueueFull: `limit` items are waiting already; counted in `refused`.
        """
        if len(self._items) >= self.limit:
            self.refused += 1
            raise QueueFull(f"{self.limit} items are waiting")
        self._items.append(item)
        self._arrived.set()

    async def get(self) -> T:
        """The oldest item; waits for one."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        return self._items.popleft()

    def drain(self) -> list[T]:
        """Every waiting item, oldest first, without waiting."""
        items = list(self._items)
        self._items.clear()
        return items

    def __len__(self) -> int:
        return len(self._items)
