"""One writer per key: what is decided about an instance is committed before the next decision about it begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class KeyLocks:
    """Locks by name, taken in sorted order (so two takers of several never wait for each other), gone when unused."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    def busy(self, name: str) -> bool:
        """Whether somebody holds `name` now."""
        return name in self._locks

    @asynccontextmanager
    async def hold(self, *names: str) -> AsyncIterator[None]:
        """Hold every one of `names`; waits for those that others hold."""
        async with AsyncExitStack() as stack:
            for name in sorted(set(names)):
                await stack.enter_async_context(self._one(name))
            yield

    @asynccontextmanager
    async def _one(self, name: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._users[name] = self._users.get(name, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._locks[name]
