"""Tasks with owners: each has a name, a parent and an ending.

`owned` is a task group that also ends its background tasks when the body is done: a service loop lives exactly as long
as the block that started it. A task that fails takes its siblings and the body with it, so no loop dies unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Tasks:
    """The tasks of one owner. Made by `owned`."""

    def __init__(self, owner: str, group: asyncio.TaskGroup) -> None:
        self._owner = owner
        self._group = group
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` beside the body, named `owner/name`; cancelled when the owner's block ends."""
        task = self._group.create_task(work, name=f"{self._owner}/{name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def cancel(self) -> None:
        """Ask every running task to stop; the owner still waits for each."""
        for task in tuple(self._running):
            task.cancel()

    def __len__(self) -> int:
        return len(self._running)


@asynccontextmanager
async def owned(owner: str) -> AsyncIterator[Tasks]:
    """A block that owns tasks: leaving it cancels and awaits them all.

    Raises:
        ExceptionGroup: what the tasks (and the body) failed with, when any did.
    """
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(owner, group)
        yield tasks
        tasks.cancel()
