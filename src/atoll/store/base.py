"""The store: revisioned facts with compare-and-set, watch and leases (etcd's data model). Protocol and promises.

Promises, kept by every engine and proved by `tests/contract/store`:
1. A commit that returned is durable (for the engines that have a disk) and visible to every later read.
2. Revisions grow by one per commit; no reader ever sees a smaller one than it saw before.
3. A watch delivers the changes of its prefix filtered, ordered by revision, each once, whole commits only, without
   gaps from its start; or it raises Resync/Compacted. Never silence: progress marks say "nothing missed up to here".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import NewType, Protocol

import msgspec

from atoll.model.names import Key

Revision = NewType("Revision", int)
"""The one increasing number of the store; 0 is the empty store."""

VALUE_LIMIT = 1 << 20
"""Bytes of one value."""
COMMIT_LIMIT = 4096
"""Operations of one commit."""


class Entry(msgspec.Struct, frozen=True):
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


class Event(msgspec.Struct, frozen=True):
    """One key's change. For a delete, `entry` is the entry as it was (with its last value)."""

    kind: EventKind
    entry: Entry
    revision: Revision


class Change(msgspec.Struct, frozen=True):
    """Everything one commit did under the watched prefix, in commit order.

    With no events it is a progress mark: nothing under the prefix is missing up to and including `revision`.
    """

    revision: Revision
    events: tuple[Event, ...] = ()


class Store(Protocol):
    """Facts. Keys are parsed by `model.names.key`; a prefix is "" or ends with '/' (anything else is refused)."""

    @property
    def revision(self) -> Revision:
        """The newest committed revision."""

    @property
    def compacted(self) -> Revision:
        """The newest revision whose history is gone; watching needs a start above it."""

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
            InvalidValue: over COMMIT_LIMIT or VALUE_LIMIT, a key twice, or an unknown lease.
            StorageFull: no room on disk; nothing was done.
            StorageFailed: the disk failed; the store refuses every later write as well.
        """

    def watch(
        self, prefix: str, *, start: Revision | None = None, progress: float = 5.0
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Changes under `prefix` from revision `start` on (None: after the current one); a future start waits.

        A progress mark comes after every `progress` seconds without a change, and first thing after the replay of
        history. The iterator raises Resync when the watcher holds more than its limit of unread changes.

        Raises:
            Compacted: on entering, when `start` is at or below `compacted`.
        """

    async def compact(self, revision: Revision) -> None:
        """Forget the history at and before `revision`; current values stay.

        Raises:
            InvalidValue: the revision lies in the future.
        """

    async def grant(self, ttl: float) -> str:
        """A new lease of `ttl` seconds; returns its id. Lease deadlines start anew when the store is opened."""

    async def keep_alive(self, lease: str) -> float:
        """Start the lease's TTL anew; returns it in seconds.

        Raises:
            LeaseExpired: it is not known (any more).
        """

    async def revoke(self, lease: str) -> None:
        """End the lease and delete its keys in one commit; an unknown lease is no error."""

    async def close(self) -> None:
        """Finish what was accepted and let go of the disk."""
