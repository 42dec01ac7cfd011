"""What a group of requests would do to an image, decided in order, one after the other. Nothing has happened yet.

Pure: an engine decides a draft, makes it durable as one group, and only then lets it happen. A request that is refused
leaves the draft as it was, so it never takes its neighbours with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from atoll.errors import Conflict, InvalidValue, Overloaded
from atoll.model import names
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store.base import (
    COMMIT_BYTES,
    COMMIT_LIMIT,
    LEASE_LIMIT,
    TTL_FLOOR,
    TTL_LIMIT,
    VALUE_LIMIT,
    Change,
    Delete,
    Entry,
    Event,
    EventKind,
    Expect,
    Put,
    Revision,
)
from atoll.store.image import Commit, Image

COMPACT_STEP = 64
"""Revisions beyond the own ones that one group forgets at most: compaction never makes a group of writes slow."""


class Draft:
    """The next group of revisions, leases and forgetting."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._entries: dict[Key, Entry | None] = {}
        self.revision = image.revision
        self.commits: list[Commit] = []
        self.bytes = 0
        self.granted: dict[str, float] = {}
        self.ended: set[str] = set()
        self.compacted = image.compacted

    @property
    def empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not (self.commits or self.granted or self.ended or self.compacted > self._image.compacted)

    def commit(self, operations: Sequence[Put | Delete], expect: Sequence[Expect]) -> Revision:
        """Decide a commit; see `Store.commit`. Its form was checked by `check`."""
        for condition in expect:
            found = self._entry(condition.key)
            modified = found.modified if found is not None else Revision(0)
            if modified != condition.modified:
                raise Conflict(
                    f"{condition.key!r} was modified at {modified}, not at {condition.modified}",
                    hint="read it again and decide anew",
                    key=condition.key,
                    expected=condition.modified,
                    modified=modified,
                )
        for operation in operations:
            if isinstance(operation, Put) and operation.lease is not None and not self._alive(operation.lease):
                raise InvalidValue(f"lease of {operation.key!r} is not known", hint="grant a new one", field="lease")
        return self._do(operations)

    def grant(self, lease: str, ttl: float) -> str:
        """Decide a new lease."""
        if len(self._image.leases) + len(self.granted) >= LEASE_LIMIT:
            raise Overloaded(f"{LEASE_LIMIT} leases are alive", hint="revoke some", retry_after=1.0)
        self.granted[lease] = ttl
        return lease

    def revoke(self, lease: str) -> None:
        """Decide the end of a lease and of its keys, in one commit."""
        if not self._alive(lease):
            return
        keys = self._image.bound.get(lease, set()) | self._entries.keys()
        self._do([Delete(key) for key in sorted(keys) if (entry := self._entry(key)) and entry.lease == lease])
        self.ended.add(lease)

    def compact(self, revision: Revision) -> None:
        """Decide to forget history at and before `revision`."""
        if revision > self._image.revision:
            raise InvalidValue(f"revision {revision} lies in the future of {self._image.revision}", field="revision")
        self.compacted = max(self.compacted, revision)

    def tidy(self, settings: StoreSettings) -> None:
        """Decide to forget a little of what is over the limits of history; the drafted commits stay.

        It waits until one in a hundred is over, so that few groups have to do it.
        """
        gone = (self._image.log[Revision(old)].size for old in range(self._image.compacted + 1, self.compacted + 1))
        held = self._image.log_bytes + self.bytes - sum(gone)
        count = self.revision - self.compacted
        if count <= settings.history + settings.history // 100 and held <= settings.history_bytes:
            return
        last = min(self._image.revision, self.compacted + COMPACT_STEP + len(self.commits))
        while self.compacted < last and (count > settings.history or held > settings.history_bytes):
            self.compacted = Revision(self.compacted + 1)
            held -= self._image.log[self.compacted].size
            count -= 1

    def garbage(self) -> list[tuple[Key, Revision]]:
        """What can be deleted with it; see `Image.garbage`."""
        return self._image.garbage(self.compacted)

    def happen(self) -> None:
        """It is durable: the image becomes what was drafted."""
        for commit in self.commits:
            self._image.apply(commit)
        self._image.leases.update(self.granted)
        for lease in self.ended:
            self._image.leases.pop(lease, None)
        self._image.forget(self.compacted)

    def _alive(self, lease: str) -> bool:
        return (lease in self._image.leases or lease in self.granted) and lease not in self.ended

    def _entry(self, key: Key) -> Entry | None:
        return self._entries[key] if key in self._entries else self._image.entries.get(key)

    def _do(self, operations: Sequence[Put | Delete]) -> Revision:
        revision = Revision(self.revision + 1)
        events: list[Event] = []
        previous: list[Entry | None] = []
        for operation in operations:
            was = self._entry(operation.key)
            if isinstance(operation, Put):
                created = was.created if was is not None else revision
                entry = Entry(operation.key, operation.value, created, revision, operation.lease)
                events.append(Event(EventKind.PUT, entry, revision))
                self._entries[operation.key] = entry
            elif was is not None:
                events.append(Event(EventKind.DELETE, was, revision))
                self._entries[operation.key] = None
            else:
                continue
            previous.append(was)
        if events:
            commit = Commit(Change(revision, tuple(events)), tuple(previous))
            self.commits.append(commit)
            self.bytes += commit.size
            self.revision = revision
        return self.revision


def check(operations: Sequence[Put | Delete], expect: Sequence[Expect]) -> None:
    """Refuse a commit whose form is wrong, whatever the store holds.

    Raises:
        InvalidName: a key does not follow the grammar.
        InvalidValue: too many operations, too many bytes, a value that is not bytes, or a key twice.
    """
    if max(len(operations), len(expect)) > COMMIT_LIMIT:
        raise InvalidValue(f"a commit has at most {COMMIT_LIMIT} operations", hint="split it", limit=COMMIT_LIMIT)
    total = 0
    seen: set[Key] = set()
    for operation in operations:
        key = names.key(operation.key)
        if key in seen:
            raise InvalidValue(f"key {key!r} occurs twice in one commit", hint="keep the last one", key=key)
        seen.add(key)
        if isinstance(operation, Put):
            if not isinstance(operation.value, bytes):
                raise InvalidValue(f"the value of {key!r} is not bytes", key=key)
            if len(operation.value) > VALUE_LIMIT:
                raise InvalidValue(f"the value of {key!r} is over {VALUE_LIMIT} bytes", key=key, limit=VALUE_LIMIT)
            total += len(operation.value)
    if total > COMMIT_BYTES:
        raise InvalidValue(f"a commit has at most {COMMIT_BYTES} bytes of values", hint="split it", limit=COMMIT_BYTES)
    for condition in expect:
        names.key(condition.key)


def check_ttl(ttl: float) -> float:
    """Refuse a TTL outside its limits.

    Raises:
        InvalidValue: it is not a number of seconds between TTL_FLOOR and TTL_LIMIT.
    """
    if not isinstance(ttl, (int, float)) or not math.isfinite(ttl) or not TTL_FLOOR <= ttl <= TTL_LIMIT:
        raise InvalidValue(f"a lease lives {TTL_FLOOR:g} to {TTL_LIMIT:g} seconds", hint="give such a TTL", field="ttl")
    return float(ttl)
