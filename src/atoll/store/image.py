"""The state of a store in memory: current entries in key order, the kept history, the leases.

Owns no time, no disk and no task. `apply` is the only way it changes, and it is told nothing but what is durable; so
every read of it is a read of the last durable commit.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence

import msgspec

from atoll.errors import Compacted, InvalidName, InvalidValue
from atoll.kit.text import scrub
from atoll.model import names
from atoll.model.names import Key
from atoll.store.base import Change, Entry, Event, EventKind, Listing, Revision

REINDEX_ABOVE = 64
"""New and removed keys of one commit from which sorting all keys again is cheaper than placing each."""


class Commit(msgspec.Struct, frozen=True, gc=False):
    """One revision: its change, and for each event the entry that it replaced."""

    change: Change
    previous: tuple[Entry | None, ...]

    @property
    def size(self) -> int:
        """Bytes of the values of its events."""
        return size(self.change)


def size(change: Change) -> int:
    """Bytes of the values of a change."""
    return sum(len(event.entry.value) for event in change.events)


def within(events: tuple[Event, ...], prefix: str) -> tuple[Event, ...]:
    """Those under `prefix`; the same tuple when all are, so that watchers share it with the history."""
    if not prefix:
        return events
    found = tuple(event for event in events if event.entry.key.startswith(prefix))
    return events if len(found) == len(events) else found


def prefix_of(raw: str) -> str:
    """Parse a prefix: "" or a key followed by '/'.

    Raises:
        InvalidValue: it does not end on a segment boundary, or what stands before is no key.
    """
    if raw == "":
        return raw
    try:
        if raw.endswith("/"):
            return names.key(raw[:-1]) + "/"
    except InvalidName:
        pass
    shown = scrub(str(raw), limit=80)
    raise InvalidValue(f"prefix {shown!r} is not '' and does not end with '/'", hint="end it with '/'", value=shown)


class Image:
    """Everything the store knows, as of `revision`."""

    def __init__(self) -> None:
        self.revision = Revision(0)
        self.compacted = Revision(0)
        self.entries: dict[Key, Entry] = {}
        self.log: dict[Revision, Commit] = {}
        """The kept history: every revision above `compacted`, none missing."""
        self.log_bytes = 0
        self.leases: dict[str, float] = {}
        """TTL of each lease, in seconds."""
        self.bound: dict[str, set[Key]] = {}
        """Keys of the leases that have any."""
        self._keys: list[Key] = []

    def restore(
        self, entries: Iterable[Entry], commits: Iterable[Commit], leases: dict[str, float], compacted: Revision
    ) -> None:
        """Become what was kept: `entries` as of `compacted`, then `commits`."""
        self.entries = {entry.key: entry for entry in entries}
        self.revision = self.compacted = compacted
        self.leases = dict(leases)
        for entry in self.entries.values():
            self._bind(None, entry)
        for commit in commits:
            self._change(commit)
        self._keys = sorted(self.entries)

    def apply(self, commit: Commit) -> None:
        """Take the next revision in."""
        before = len(self.entries)
        self._change(commit)
        pairs = zip(commit.change.events, commit.previous, strict=True)
        moved = [event for event, previous in pairs if previous is None or event.kind is EventKind.DELETE]
        if len(moved) > min(REINDEX_ABOVE, before):
            self._keys = sorted(self.entries)
            return
        for event in moved:
            if event.kind is EventKind.PUT:
                insort(self._keys, event.entry.key)
            else:
                del self._keys[bisect_left(self._keys, event.entry.key)]

    def forget(self, revision: Revision) -> None:
        """Drop the history at and before `revision`."""
        for old in range(self.compacted + 1, revision + 1):
            self.log_bytes -= self.log.pop(Revision(old)).size
        self.compacted = max(self.compacted, revision)

    def page(self, prefix: str, revision: Revision | None, after: Key | None, limit: int | None) -> Listing:
        """A page of what stands under `prefix`; see `Store.list`."""
        if limit is not None and limit < 1:
            raise InvalidValue(f"limit {limit} is below 1", hint="leave it out to get all", field="limit")
        if revision is None or revision == self.revision:
            revision, keys, entries = self.revision, self._keys, self.entries
        else:
            entries = self._as_of(revision)
            keys = sorted(entries)
        start = (
            bisect_left(keys, prefix) if after is None else max(bisect_left(keys, prefix), bisect_right(keys, after))
        )
        end = bisect_left(keys, prefix[:-1] + "0") if prefix else len(keys)  # '0' follows '/'
        stop = end if limit is None else min(end, start + limit)
        return Listing(tuple(entries[key] for key in keys[start:stop]), revision, more=stop < end)

    def garbage(self, revision: Revision) -> list[tuple[Key, Revision]]:
        """The puts and deletes (key, revision) that nobody can ask for once `revision` is forgotten."""
        rows: list[tuple[Key, Revision]] = []
        for old in range(self.compacted + 1, revision + 1):
            commit = self.log[Revision(old)]
            for event, previous in zip(commit.change.events, commit.previous, strict=True):
                if previous is not None:
                    rows.append((previous.key, previous.modified))
                if event.kind is EventKind.DELETE:
                    rows.append((event.entry.key, event.revision))
        return rows

    def replay(self, prefix: str, start: Revision) -> Sequence[Change]:
        """The changes under `prefix` from `start` on.

        Raises:
            Compacted: `start` is no longer in the history.
        """
        if start <= self.compacted:
            raise self._compacted(start)
        changes: list[Change] = []
        for revision in range(start, self.revision + 1):
            change = self.log[Revision(revision)].change
            events = within(change.events, prefix)
            if events:
                changes.append(change if events is change.events else Change(change.revision, events))
        return changes

    def _as_of(self, revision: Revision) -> dict[Key, Entry]:
        if revision > self.revision:
            raise InvalidValue(f"revision {revision} lies in the future of {self.revision}", field="revision")
        if revision < self.compacted or revision < 0:
            raise self._compacted(revision)
        entries = dict(self.entries)
        for newer in range(self.revision, revision, -1):
            commit = self.log[Revision(newer)]
            for event, previous in zip(commit.change.events, commit.previous, strict=True):
                if previous is None:
                    del entries[event.entry.key]
                else:
                    entries[event.entry.key] = previous
        return entries

    def _compacted(self, revision: Revision) -> Compacted:
        return Compacted(
            f"revision {revision} is compacted (up to {self.compacted})",
            hint="list, then watch from the listed revision",
            compacted=self.compacted,
            revision=self.revision,
        )

    def _change(self, commit: Commit) -> None:
        for event, previous in zip(commit.change.events, commit.previous, strict=True):
            if event.kind is EventKind.PUT:
                self.entries[event.entry.key] = event.entry
                self._bind(previous, event.entry)
            else:
                del self.entries[event.entry.key]
                self._bind(previous, None)
        self.revision = commit.change.revision
        self.log[self.revision] = commit
        self.log_bytes += commit.size

    def _bind(self, previous: Entry | None, entry: Entry | None) -> None:
        if previous is not None and previous.lease is not None:
            keys = self.bound[previous.lease]
            keys.discard(previous.key)
            if not keys:
                del self.bound[previous.lease]
        if entry is not None and entry.lease is not None:
            self.bound.setdefault(entry.lease, set()).add(entry.key)
