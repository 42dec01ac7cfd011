"""The facts, kept current over an unreliable connection: list, watch, resume by revision, list anew when told to.

Promises: every batch is whole commits in order of revision, none twice; a batch with `reset` replaces everything known
before. It retries for ever with jittered back-off, holds one event in memory, and tells how old its knowledge is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from atoll.errors import AtollError, Compacted, Resync
from atoll.kit.backoff import Backoff
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.model.answers import FactChange, FactEventKind, FactPage
from atoll.model.snapshot import Snapshot

log = Log("watch")


class Source(Protocol):
    """Where facts come from: `Client`, or a fake."""

    async def facts(self, prefixes: Sequence[str]) -> FactPage:
        """Every fact under `prefixes`, at one revision."""

    def changes(self, prefixes: Sequence[str], start: int) -> AbstractAsyncContextManager[AsyncIterator[FactChange]]:
        """What changes from revision `start` on."""


@dataclass(frozen=True)
class Batch:
    """Changes to take over in one go: `puts` (key, JSON) and `deletes` (keys), as of `revision`."""

    revision: int
    puts: tuple[tuple[str, bytes], ...] = ()
    deletes: tuple[str, ...] = ()
    reset: bool = False
    """The puts are everything there is; forget what was known before."""

    def apply(self, snapshot: Snapshot) -> Snapshot:
        """`snapshot` moved on (the same object, unless this is a reset)."""
        if self.reset:
            return Snapshot.load(self.revision, self.puts)
        for key in self.deletes:
            snapshot.delete(key)
        for key, value in self.puts:
            snapshot.put(key, value)
        snapshot.revision = self.revision
        return snapshot


class Watch:
    """Iterate over it for batches; the first one is always a reset. One reader."""

    def __init__(self, source: Source, prefixes: Sequence[str], clock: Clock, backoff: Backoff | None = None) -> None:
        self._source = source
        self._prefixes = tuple(prefixes)
        self._clock = clock
        self._backoff = backoff or Backoff(base=0.1, cap=5.0)
        self._heard = clock.now()
        self.connected = False
        """Whether the control plane is listened to right now."""
        self.revision = 0
        """Nothing is missed up to here."""
        self.error: AtollError | None = None
        """Why it is not connected."""
        self.failures = 0
        """Attempts that failed, since the start."""
        self.resets = 0
        """Times that everything was listed anew, after the first."""

    @property
    def age(self) -> float:
        """Seconds since it was last known to be current."""
        return self._clock.now() - self._heard

    async def __aiter__(self) -> AsyncIterator[Batch]:
        """Batches, for ever; ends only by cancellation."""
        listed = False
        while True:
            try:
                if not listed:
                    page = await self._source.facts(self._prefixes)
                    self.resets += self.revision > 0
                    self.revision = page.revision
                    listed = True
                    self._good()
                    yield Batch(page.revision, tuple((fact.key, bytes(fact.value)) for fact in page.facts), reset=True)
                async with self._source.changes(self._prefixes, self.revision + 1) as changes:
                    async for change in changes:
                        self._good()
                        if change.revision <= self.revision:
                            continue
                        self.revision = change.revision
                        if change.events:
                            yield _batch(change)
                self._bad(None)  # the control plane ended the stream: it is stopping
            except (Compacted, Resync) as error:
                listed = False
                self._bad(error)
            except AtollError as error:
                self._bad(error)
            await self._clock.sleep(self._backoff.next())

    def _good(self) -> None:
        if not self.connected:
            log.info("the control plane is heard", revision=self.revision)
        self.connected, self.error = True, None
        self._heard = self._clock.now()
        self._backoff.reset()

    def _bad(self, error: AtollError | None) -> None:
        if self.connected:
            log.warning(
                "the control plane is not heard; what is known stays in force", reason=error.code if error else ""
            )
        self.connected, self.error = False, error
        self.failures += 1


def _batch(change: FactChange) -> Batch:
    last = {event.key: event for event in change.events}
    return Batch(
        change.revision,
        tuple((key, bytes(event.value)) for key, event in last.items() if event.kind is FactEventKind.PUT),
        tuple(key for key, event in last.items() if event.kind is FactEventKind.DELETE),
    )
