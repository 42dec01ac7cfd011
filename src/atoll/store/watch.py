"""Who hears of changes: replay from history, then live, filtered, in order, each once.

Promises: `publish` never waits, so a slow watcher delays nobody; a watcher holds a bounded number of unread changes and
bytes, beyond which it is told to resync; nothing is lost when a reader is cancelled, for a change leaves the queue only
when it is handed over. Watchers of one prefix share the change objects with each other and with the history.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from atoll.errors import InvalidValue, Resync, StorageFailed
from atoll.kit.clock import Clock
from atoll.kit.tasks import Tasks
from atoll.settings import Store as StoreSettings
from atoll.store.base import Change, Revision
from atoll.store.image import Image, prefix_of, size, within


class Watch(AsyncIterator[Change]):
    """One watcher's view; made by `Watches.open`. One reader at a time."""

    def __init__(self, watches: Watches, prefix: str, start: Revision, progress: float, replay: deque[Change]) -> None:
        self.prefix = prefix
        self.start = start
        self.progress = progress
        self._watches = watches
        self._replay = replay
        self._live: deque[Change] = deque()
        self._live_bytes = 0
        self._lost = self._closed = self._due = False
        self._wake = asyncio.Event()
        self._quiet_since = watches.clock.now()

    async def __anext__(self) -> Change:
        """The next change or progress mark.

        Raises:
            Resync: it held more than its limit of unread changes.
        """
        while True:
            if self._lost:
                raise Resync(
                    "the watcher fell behind its limit of unread changes",
                    hint="list, then watch from the listed revision",
                    limit=self._watches.settings.watcher_backlog,
                )
            change = self._next()
            if change is not None:
                self._quiet_since = self._watches.clock.now()
                return change
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    def push(self, change: Change, weight: int) -> bool:
        """Give it a change of `weight` bytes without waiting; False when that was over the limit."""
        settings = self._watches.settings
        too_many = len(self._live) >= settings.watcher_backlog
        too_large = bool(self._live) and self._live_bytes + weight > settings.watcher_bytes
        if too_many or too_large:
            self._lost = True
            self._replay.clear()
            self._live.clear()
        else:
            self._live.append(change)
            self._live_bytes += weight
        self._wake.set()
        return not self._lost

    @property
    def held(self) -> tuple[int, int]:
        """Unread changes, and the bytes of the live ones."""
        return len(self._replay) + len(self._live), self._live_bytes

    def end(self) -> None:
        """The store closes: iteration ends after what is unread."""
        self._closed = True
        self._wake.set()

    async def remind(self) -> None:
        """Ask for a progress mark whenever the reader heard nothing for `progress` seconds."""
        clock = self._watches.clock
        while True:
            left = self._quiet_since + self.progress - clock.now()
            if left <= 0:
                self._due = True
                self._quiet_since = clock.now()
                self._wake.set()
                left = self.progress
            await clock.sleep(left)

    def _next(self) -> Change | None:
        if self._replay:
            return self._replay.popleft()
        if self._live:
            change = self._live.popleft()
            self._live_bytes -= size(change)
            self._due = False
            return change
        if self._due:
            self._due = False
            return Change(max(self._watches.image.revision, Revision(self.start - 1)))
        return None


class Watches:
    """Every open watch of one store. Counters: `open_count` now, `resyncs` since the start."""

    def __init__(self, image: Image, settings: StoreSettings, clock: Clock, tasks: Tasks) -> None:
        self.image = image
        self.settings = settings
        self.clock = clock
        self.resyncs = 0
        self._tasks = tasks
        self._by_prefix: dict[str, set[Watch]] = {}
        self._open: set[Watch] = set()
        self._closed = False

    @property
    def open_count(self) -> int:
        """Watches that are open now."""
        return len(self._open)

    @property
    def backlog(self) -> tuple[int, int]:
        """The most changes, and the most bytes, that one watcher has not read yet."""
        held = [watch.held for watch in self._open]
        return max((count for count, _ in held), default=0), max((weight for _, weight in held), default=0)

    @asynccontextmanager
    async def open(self, prefix: str, start: Revision | None, progress: float) -> AsyncIterator[AsyncIterator[Change]]:
        """A watch for the length of the block; see `Store.watch`."""
        watch = self._enter(prefix_of(prefix), start, progress)
        marks = self._tasks.start(f"marks of {prefix or 'all'}", watch.remind())
        try:
            yield watch
        finally:
            marks.cancel()
            self._open.discard(watch)
            self._leave(watch)

    def publish(self, change: Change) -> None:
        """Tell everybody whom it concerns; the image has it already."""
        for prefix, group in tuple(self._by_prefix.items()):
            events = within(change.events, prefix)
            if not events:
                continue
            seen = change if events is change.events else Change(change.revision, events)
            weight = size(seen)
            for watch in tuple(group):
                if change.revision >= watch.start and not watch.push(seen, weight):
                    self.resyncs += 1
                    self._leave(watch)

    def close(self) -> None:
        """End every watch."""
        self._closed = True
        for watch in self._open:
            watch.end()

    def _enter(self, prefix: str, start: Revision | None, progress: float) -> Watch:
        if self._closed:
            raise StorageFailed("the store is closed")
        if not progress > 0:
            raise InvalidValue("progress marks need an interval above zero seconds", field="progress")
        now = self.image.revision
        start = Revision(now + 1) if start is None else start
        replay = deque(self.image.replay(prefix, start))
        replay.append(Change(max(now, Revision(start - 1))))
        watch = Watch(self, prefix, start, progress, replay)
        self._by_prefix.setdefault(prefix, set()).add(watch)
        self._open.add(watch)
        return watch

    def _leave(self, watch: Watch) -> None:
        group = self._by_prefix.get(watch.prefix)
        if group is not None:
            group.discard(watch)
            if not group:
                del self._by_prefix[watch.prefix]
