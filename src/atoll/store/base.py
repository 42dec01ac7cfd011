"""The store: revisioned facts with compare-and-set, watch and leases (etcd's data model). Protocol and promises.

Promises, kept by every engine and proved by `tests/contract/store`:
1. A commit that returned is durable (for the engines that have a disk) and visible to every later read.
2. Revisions grow by one per commit; no reader ever sees a smaller one than it saw before.
3. A watch delivers the changes of its prefix filtered, ordered by revision, each once, whole commits only, without
   gaps from its start; or it raises Resync/Compacted. Never silence: progress marks say "nothing missed up to here".
4. An answer, also a refusal, speaks only of what is durable: a Conflict is never caused by a commit that is lost later.
5. A caller that is cancelled while it waits for a commit does not know whether it happened; nobody else notices.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import NewType, Protocol

import msgspec

from atoll.kit.clock import Clock
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings

Revision = NewType("Revision", int)
"""The one increasing number of the store; 0 is the empty store."""

VALUE_LIMIT = 1 << 20
"""Bytes of one value."""
COMMIT_LIMIT = 4096
"""Operations of one commit."""
COMMIT_BYTES = 16 << 20
"""Bytes of all values of one commit."""
PENDING_LIMIT = 10_000
"""Writes waiting for the disk; more are refused with Overloaded."""
LEASE_LIMIT = 100_000
"""Leases alive at once; more are refused with Overloaded."""
TTL_FLOOR = 1.0
TTL_LIMIT = 366 * 86_400.0
"""Seconds of the shortest and longest lease; a shorter one would lapse on any slow disk."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A key's value and when it came about."""

    key: Key
    value: bytes
    created: Revision
    modified: Revision
    lease: str | None = None
    """The store lease it is bound to; it is deleted when that lapses."""


class Listing(msgspec.Struct, frozen=True):
    """A page of a prefix at one revision, ordered by key. `more` tells that entries follow `entries[-1].key`."""

    entries: tuple[Entry, ...]
    revision: Revision
    more: bool = False


class Put(msgspec.Struct, frozen=True):
    """Set `key`; bound to `lease` if one is given, unbound otherwise."""

    key: Key
    value: bytes
    lease: str | None = None


class Delete(msgspec.Struct, frozen=True):
    """Remove `key`; nothing happens when it is absent."""

    key: Key


class Expect(msgspec.Struct, frozen=True):
    """A condition of a commit: `key` was last modified at `modified`; 0 means it is absent."""

    key: Key
    modified: Revision = Revision(0)


class EventKind(StrEnum):
    """What happened to a key."""

    PUT = "put"
    DELETE = "delete"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One key's change. For a delete, `entry` is the entry as it was (with its last value)."""

    kind: EventKind
    entry: Entry
    revision: Revision


class Change(msgspec.Struct, frozen=True, gc=False):
    """Everything one commit did under the watched prefix, in commit order.

    With no events it is a progress mark: nothing under the prefix is missing up to and including `revision`.
    """

    revision: Revision
    events: tuple[Event, ...] = ()


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """How much a store has to do now, and what it had to give up since it was opened."""

    waiting: int = 0
    """Writes that wait for the disk, at most PENDING_LIMIT."""
    watches: int = 0
    backlog: int = 0
    """Changes that the slowest watcher has not read yet."""
    backlog_bytes: int = 0
    """Bytes of values in the largest backlog."""
    resyncs: int = 0
    """Watchers that fell behind and were told to start over."""


class Store(Protocol):
    """Facts. Keys are parsed by `model.names.key`; a prefix is "" or ends with '/' (anything else is refused)."""

    @property
    def revision(self) -> Revision:
        """The newest committed revision."""

    @property
    def compacted(self) -> Revision:
        """The newest revision whose history is gone; watching needs a start above it."""

    @property
    def work(self) -> Work:
        """What it has to do now; cheap enough to ask every second."""

    async def get(self, key: Key) -> Entry | None:
        """The newest entry of a key."""

    async def list(
        self, prefix: str, *, revision: Revision | None = None, after: Key | None = None, limit: int | None = None
    ) -> Listing:
        """The entries under `prefix` as of `revision` (newest if None), those after key `after`, at most `limit`.

        Raises:
            Compacted: `revision` is older than the kept history.
            InvalidValue: `revision` lies in the future, or the prefix has no segment boundary.
        """

    async def commit(self, operations: Sequence[Put | Delete], *, expect: Sequence[Expect] = ()) -> Revision:
        """Do all operations as one revision if every expectation holds; returns that revision.

        A commit that changes nothing (deletes of absent keys) returns the current revision and makes no new one.

        Raises:
            Conflict: an expectation does not hold; nothing was done. Field `key` names it.
            InvalidName: a key does not follow the grammar.
            InvalidValue: over COMMIT_LIMIT, VALUE_LIMIT or COMMIT_BYTES, a key twice, or an unknown lease.
            Overloaded: PENDING_LIMIT writes wait already; nothing was done.
            StorageFull: no room on disk; nothing was done, and the next try may go well.
            StorageFailed: the disk failed (or the store is closed); every later write is refused as well. Whether
                this one is found after a restart is not known.
        """

    def watch(
        self, prefix: str, *, start: Revision | None = None, progress: float = 5.0
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Changes under `prefix` from revision `start` on (None: after the current one); a future start waits.

        A progress mark comes first thing after the replay of history (also of an empty one: it tells where the watch
        begins), and after every `progress` seconds without a change. Resuming at `change.revision + 1` of whatever
        came last is always right; so a mark's revision is never below `start - 1`.
        The iterator raises Resync, for good, when the watcher holds more than its limit of unread changes; it ends
        when the store closes. Cancelling `anext` loses nothing; one reader at a time.

        Raises:
            Compacted: on entering, when `start` is at or below `compacted`.
            InvalidValue: on entering: the prefix has no segment boundary, or `progress` is not above zero.
        """

    async def compact(self, revision: Revision) -> None:
        """Forget the history at and before `revision`; current values stay. An older one than `compacted` is done.

        What an open watch has not read yet is still delivered.

        Raises:
            InvalidValue: the revision lies in the future.
        """

    async def grant(self, ttl: float) -> str:
        """A new lease of `ttl` seconds; returns its id. Lease deadlines start anew when the store is opened.

        A lease never lapses early: not for the time in which the process was paused, not before its end is durable.

        Raises:
            InvalidValue: the TTL is not between TTL_FLOOR and TTL_LIMIT.
            Overloaded: LEASE_LIMIT leases are alive.
        """

    async def keep_alive(self, lease: str) -> float:
        """Start the lease's TTL anew; returns it in seconds.

        Raises:
            LeaseExpired: it is not known (any more).
        """

    async def revoke(self, lease: str) -> None:
        """End the lease and delete its keys in one commit; an unknown lease is no error."""

    async def close(self) -> None:
        """Finish what was accepted, end every watch, let go of the disk. Later writes are refused; again: nothing."""


class Engine(Protocol):
    """How a store is opened; the seam that lets one contract suite run over every engine."""

    def __call__(self, folder: Path, settings: StoreSettings, clock: Clock) -> AbstractAsyncContextManager[Store]:
        """The store kept in `folder`, open for the length of the block.

        Raises:
            AlreadyRunning: another process holds the folder; field `pid`.
            StorageIncompatible: the file was written by a newer atoll, or is not ours; it is left untouched.
            StorageFailed: the file is damaged or cannot be read.
        """
