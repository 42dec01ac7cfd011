"""Commits as rows of the table `log`, and an image read back from them.

Reading trusts nothing: each row carries a checksum, revisions must be complete, and what compaction was to remove must
be gone. A file that fails any of this is refused as damaged; a wrong value is never served.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import apsw

from atoll.errors import StorageFailed
from atoll.model.names import Key
from atoll.store.base import Change, Entry, Event, EventKind, Revision
from atoll.store.image import Commit, Image
from atoll.store.schema import PLACES

Row = tuple[int, Key, bytes | None, int, str | None, int]
"""id, key, value (None: deleted), created, lease, sum."""


def rows(commits: Sequence[Commit]) -> Iterator[Row]:
    """The rows of commits, in order."""
    for commit in commits:
        for place, event in enumerate(commit.change.events):
            number, entry = event.revision * PLACES + place, event.entry
            value = entry.value if event.kind is EventKind.PUT else None
            total = checksum(number, entry.key, value, entry.created, entry.lease)
            yield number, entry.key, value, entry.created, entry.lease, total


def checksum(number: int, key: str, value: bytes | None, created: int, lease: str | None) -> int:
    """CRC-32 of a row: SQLite guards the structure of its pages, not their content."""
    head = f"{number} {key} {created} {lease or ''} {'-' if value is None else '+'}".encode()
    return zlib.crc32(value or b"", zlib.crc32(head))


def lease_rows(granted: Mapping[str, float]) -> Iterator[tuple[str, float, int]]:
    """The rows of leases: id, TTL, sum."""
    for lease, ttl in granted.items():
        yield lease, ttl, lease_checksum(lease, ttl)


def lease_checksum(lease: str, ttl: float) -> int:
    """CRC-32 of a lease's row."""
    return zlib.crc32(f"{lease} {ttl!r}".encode())


def load(connection: apsw.Connection) -> Image:
    """Read everything that is kept.

    Raises:
        StorageFailed: a row is damaged or missing.
    """
    path = Path(connection.filename)
    try:
        return _load(connection, path)
    except UnicodeDecodeError as error:
        raise damaged(path, "a text in it is not UTF-8") from error


def _load(connection: apsw.Connection, path: Path) -> Image:
    compacted = connection.execute("SELECT value FROM state WHERE name = 'compacted'").get
    if not isinstance(compacted, int):
        raise damaged(path, "it does not say what was compacted")
    stored = connection.execute("SELECT id, key, value, created, lease, sum FROM log ORDER BY id")
    reading = Reading(path, Revision(compacted))
    for row in stored:
        reading.take(row)
    leases: dict[str, float] = {}
    for lease, ttl, total in connection.execute("SELECT id, ttl, sum FROM leases"):
        if total != lease_checksum(lease, ttl):
            raise damaged(path, f"the row of lease {lease!r} is not what was written")
        leases[lease] = ttl
    return reading.image(leases)


class Reading:
    """Rows in order, becoming entries as of `compacted` and the commits after it."""

    def __init__(self, path: Path, compacted: Revision) -> None:
        self._path = path
        self._compacted = compacted
        self._base: dict[Key, Entry] = {}
        self._entries: dict[Key, Entry] = {}
        self._commits: dict[Revision, tuple[list[Event], list[Entry | None]]] = {}

    def take(self, row: Row) -> None:
        """The next row.

        Raises:
            StorageFailed: it is not what was written, or cannot follow the rows before it.
        """
        number, key, value, created, lease, total = row
        revision = Revision(number // PLACES)
        if total != checksum(number, key, value, created, lease):
            raise damaged(self._path, f"the row of {key!r} at revision {revision} is not what was written")
        entry = None if value is None else Entry(key, value, Revision(created), revision, lease)
        previous = self._entries.get(key)
        if revision <= self._compacted:
            if entry is None or previous is not None:
                raise damaged(self._path, f"{key!r} has a version at revision {revision} that was compacted")
            self._base[key] = self._entries[key] = entry
            return
        events, replaced = self._commits.setdefault(revision, ([], []))
        replaced.append(previous)
        if entry is not None:
            self._entries[key] = entry
            events.append(Event(EventKind.PUT, entry, revision))
        elif previous is not None:
            del self._entries[key]
            events.append(Event(EventKind.DELETE, previous, revision))
        else:
            raise damaged(self._path, f"{key!r} was deleted at revision {revision} and never put")

    def image(self, leases: dict[str, float]) -> Image:
        """All of it.

        Raises:
            StorageFailed: a revision is missing.
        """
        first = self._compacted + 1
        if list(self._commits) != list(range(first, first + len(self._commits))):
            raise damaged(self._path, "revisions are missing")
        commits = (
            Commit(Change(revision, tuple(events)), tuple(replaced))
            for revision, (events, replaced) in self._commits.items()
        )
        image = Image()
        image.restore(self._base.values(), commits, leases, self._compacted)
        return image


def damaged(path: Path, finding: str) -> StorageFailed:
    """The refusal of a file that does not hold what was written to it."""
    return StorageFailed(f"{path} is damaged: {finding}", hint="restore a backup: atoll restore FILE", file=str(path))
