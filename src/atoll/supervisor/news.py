"""An event that time or finished work can also end: how a life waits for whatever comes first.

Whoever waits looks at the state again afterwards; so news are a hint to look, and told many times are heard once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from atoll.kit.clock import Clock
from atoll.kit.tasks import owned

T = TypeVar("T")


class News:
    """Something changed; look again. For one waiter."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Wake the one that waits, or the next that will."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until told."""
        await self._event.wait()
        self._event.clear()

    async def within(self, seconds: float) -> bool:
        """Wait until told (True) or until `seconds` have passed (False)."""
        return not await self.unless(self._sleep(seconds))

    async def unless(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`; None, and `work` is cancelled, when something is told before. `work` must not raise."""
        async with owned("news") as tasks:
            task = tasks.start("work", work)
            task.add_done_callback(self._finished)
            await self._event.wait()
        self._event.clear()
        return None if task.cancelled() else task.result()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            self._event.set()

    async def _sleep(self, seconds: float) -> bool:
        await self._clock.sleep(seconds)
        return True
