"""What every handler of the control API works with, and what it counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from atoll.errors import StorageFailed
from atoll.kit.clock import Clock, Instant
from atoll.kit.tasks import Tasks
from atoll.kit.watchdog import Watchdog
from atoll.registry.archive import Archive
from atoll.registry.catalog import Catalog
from atoll.registry.registry import Registry
from atoll.settings import Settings
from atoll.store.base import Store

Backup = Callable[[Path], Awaitable[object]]
"""Writes one consistent copy of the store to a new file."""


def finish(scope: asyncio.Timeout) -> None:
    """Let a waiting request end now; one that ends already is left alone."""
    with contextlib.suppress(RuntimeError):
        scope.reschedule(0)


class Recent:
    """Counts of the last one to two minutes: two buckets, of which the older one is forgotten whole."""

    SECONDS = 60.0

    def __init__(self) -> None:
        self._began = Instant(0.0)
        self._now: Counter[str] = Counter()
        self._before: Counter[str] = Counter()

    def add(self, name: str, now: Instant) -> None:
        """One more of `name`."""
        self._turn(now)
        self._now[name] += 1

    def counts(self, now: Instant) -> Counter[str]:
        """How many of each."""
        self._turn(now)
        return self._before + self._now

    def _turn(self, now: Instant) -> None:
        if now - self._began >= self.SECONDS:
            self._before = self._now if now - self._began < 2 * self.SECONDS else Counter()
            self._now = Counter()
            self._began = now


@dataclass
class Counts:
    """What the API did since it started; shown by /api/v1/status."""

    requests: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    lately: Recent = field(default_factory=lambda: Recent())
    """The refusals of the last one to two minutes."""
    watchers: int = 0
    resyncs: int = 0
    watchers_cut: int = 0


@dataclass
class Control:
    """One control plane: its parts, for the handlers."""

    settings: Settings
    clock: Clock
    store: Store
    registry: Registry
    catalog: Catalog
    archive: Archive
    token: str
    tasks: Tasks
    watchdog: Watchdog
    backup: Backup | None = None
    """None: the store's engine cannot be copied (it is in memory)."""
    backing_up: bool = False
    """One backup at a time: each needs the store's size on disk once more."""
    counts: Counts = field(default_factory=Counts)
    in_progress: int = 0
    """Requests that are being answered, watches included."""
    forwarding: int = 0
    """Questions that are at the telemetry process."""
    exposing: frozenset[str] = frozenset()
    """Services that were last known to have metrics."""
    stopping: bool = False
    waiting: set[asyncio.Timeout] = field(default_factory=set)
    """Requests that wait for something to happen; each ends when its client leaves or the process stops."""
    failure: StorageFailed | None = None
    """Why this process must end."""
    on_failure: Callable[[], object] = lambda: None
    started: Instant = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock.now()

    def stop(self) -> None:
        """End every waiting request, so that the process can end."""
        self.stopping = True
        for scope in tuple(self.waiting):
            finish(scope)

    def fail(self, error: StorageFailed) -> None:
        """The disk did not keep what it was told: end the process, so that nothing more is acknowledged."""
        if self.failure is None:
            self.failure = error
            self.on_failure()
