"""A copy of the store as one file, made while writes go on; and a state folder made anew from such a file.

A backup goes through SQLite's backup API on the writer's own connection, a few pages between two groups of writes, so it
is one consistent revision and no other connection ever opens the live file. (Opening and closing that file by other means,
even to read it, would drop SQLite's locks on it.)

A restored store goes on a long way above the revision of its backup, with nothing of its history kept: whoever watched
the old one is told to list anew, instead of waiting silently for a revision that means something else now.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from atoll.errors import InvalidValue, NotFound, StorageFailed, StorageIncompatible
from atoll.kit.clock import Clock, SystemClock
from atoll.kit.files import PRIVATE_FILE, sync_folder
from atoll.store.base import Revision
from atoll.store.journal import Journal, translated, verify
from atoll.store.rows import load
from atoll.store.schema import PLACES, check, migrate
from atoll.store.sqlite import DATABASE, SqliteStore, held

LIVE = frozenset(DATABASE + suffix for suffix in ("", "-wal", "-shm", "-journal"))
PAGES = 256
"""Pages (1 MiB) copied between two groups of writes."""
LEAP = 1_000_000_000
"""Revisions that a restore leaps over, more than any client can have seen; etcd's advice for `--bump-revision`."""


class Backup(msgspec.Struct, frozen=True):
    """A finished backup."""

    path: Path
    revision: Revision
    bytes: int


class Restored(msgspec.Struct, frozen=True):
    """A finished restore. `kept` is where the previous database is now, if there was one."""

    revision: Revision
    backup_revision: Revision
    kept: Path | None


async def backup(store: SqliteStore, target: Path) -> Backup:
    """Copy the store to the file `target` (replaced if there is one) while it goes on; durable when this returns.

    Raises:
        InvalidValue: `target` is the live database, or its folder does not exist.
        StorageFull: no room for the copy; the store itself is not concerned.
        StorageFailed: the copy could not be written, or the store is closed.
    """
    copy = Copy(target)
    try:
        await store.on_writer(copy.start)
        while not await store.on_writer(copy.step):
            pass
        return await store.on_writer(copy.finish)
    finally:
        try:
            await store.on_writer(copy.discard)
        except StorageFailed:  # closed meanwhile, so nothing runs on the writer any more
            copy.discard()


class Copy:
    """A backup in the making, beside its target until it is whole. Its methods run on the writer thread."""

    def __init__(self, target: Path) -> None:
        self.target = target = target.absolute()
        self._part = target.with_name(f".{target.name}.{os.getpid()}.new")
        self._connection: apsw.Connection | None = None
        self._run: apsw.Backup | None = None

    def start(self, journal: Journal) -> None:
        """Make the file and begin."""
        target, live = self.target, journal.path
        if not target.parent.is_dir():
            raise InvalidValue(f"folder {target.parent} does not exist", hint="make it first", field="target")
        if target.parent.resolve() == live.parent.resolve() and target.name in LIVE:
            raise InvalidValue(f"{target} belongs to the live database", hint="choose another file", field="target")
        with refusals(self._part):
            self._connection = _create(self._part)
            self._run = self._connection.backup("main", journal.connection, "main")

    def step(self, journal: Journal) -> bool:
        """Copy some pages; True when all are. What our own connection writes meanwhile, SQLite copies along."""
        assert self._run is not None
        if not journal.is_open:  # closing the connection ended its backups
            raise StorageFailed("the store is closed", hint="open it again")
        with refusals(self._part):
            done = self._run.step(PAGES)
            if done:
                self._run.finish()
            return done

    def finish(self, _journal: Journal) -> Backup:
        """Seal the file, make it durable and put it in place."""
        assert self._connection is not None
        with refusals(self._part):
            revision = newest(self._connection)
            _seal(self._connection, self._part)
            self._part.replace(self.target)
            sync_folder(self.target.parent)
            return Backup(self.target, revision, self.target.stat().st_size)

    def discard(self, _journal: Journal | None = None) -> None:
        """Remove what is not in place."""
        for opened in (self._run, self._connection):
            with contextlib.suppress(apsw.Error):
                if opened is not None:
                    opened.close(True)
        _remove(self._part)


def restore(source: Path, folder: Path, clock: Clock | None = None) -> Restored:
    """Make the state folder `folder` anew from the backup `source`. Blocking; nobody may run on that folder.

    The previous database stays beside it as `state.db.before-restore-<stamp>`.

    Raises:
        NotFound: there is no such file.
        InvalidValue: `source` is the folder's own database.
        AlreadyRunning: a control plane runs on the folder.
        StorageIncompatible: `source` is no backup of ours, or of a newer atoll.
        StorageFull: no room for it; the folder is as it was.
        StorageFailed: `source` is damaged; the folder is as it was.
    """
    if not source.is_file():
        raise NotFound(f"there is no file {source}", hint="name a file made by: atoll backup FILE")
    live = folder / DATABASE
    if source.resolve() == live.resolve():
        raise InvalidValue(f"{source} is the database of that folder", hint="name a backup", field="source")
    part = folder / f".{DATABASE}.{os.getpid()}.new"
    with held(folder):
        try:
            with refusals(source):
                revision = _prepare(source, part)
            with refusals(live):
                kept = _set_aside(live, clock or SystemClock())
                part.replace(live)
                sync_folder(folder)
        finally:
            _remove(part)
    return Restored(Revision(revision + LEAP), revision, kept)


def newest(connection: apsw.Connection) -> Revision:
    """The newest revision of a file."""
    last = connection.execute("SELECT max(id) FROM log").get or 0
    compacted = connection.execute("SELECT value FROM state WHERE name = 'compacted'").get
    return Revision(max(last // PLACES, compacted))


@contextlib.contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Say what SQLite's and the system's errors about `path` mean."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise translated(error, path) from error


def _create(path: Path) -> apsw.Connection:
    _remove(path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
    connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.pragma("locking_mode", "exclusive")
    connection.pragma("synchronous", "off")  # `_seal` makes it durable once, as a whole
    connection.pragma("journal_mode", "off")  # a part that failed is thrown away, not rolled back
    return connection


def _remove(part: Path) -> None:
    for suffix in ("", "-wal", "-journal"):
        part.with_name(part.name + suffix).unlink(missing_ok=True)


def _seal(connection: apsw.Connection, path: Path) -> None:
    """Make it one file without a log beside it, durable, and closed."""
    connection.pragma("journal_mode", "delete")
    connection.close()
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prepare(source: Path, part: Path) -> Revision:
    """Copy the backup to `part`, check it, and move it over the leap; returns the backup's revision."""
    with contextlib.closing(_create(part)) as copy:
        with contextlib.closing(apsw.Connection(os.fspath(source), flags=apsw.SQLITE_OPEN_READONLY)) as original:
            if check(original) == 0:
                raise StorageIncompatible(f"{source} is empty", hint="name a file made by: atoll backup FILE")
            with copy.backup("main", original, "main") as run:
                run.step()
        verify(copy)
        migrate(copy)
        revision = load(copy).revision
        with copy:
            copy.execute("DELETE FROM log WHERE id < (SELECT max(id) FROM log AS newer WHERE newer.key = log.key)")
            copy.execute("DELETE FROM log WHERE value IS NULL")
            copy.execute("UPDATE state SET value = ? WHERE name = 'compacted'", (revision + LEAP,))
        _seal(copy, part)
    return revision


def _set_aside(live: Path, clock: Clock) -> Path | None:
    """Give the previous database another name as well; it is whole there, with what its log held."""
    if not live.exists():
        return None
    with contextlib.suppress(apsw.Error), contextlib.closing(apsw.Connection(os.fspath(live))) as previous:
        previous.pragma("locking_mode", "exclusive")
        previous.pragma("user_version")  # only a database that was read has a log to take in
        previous.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock.wall()))
    names = (f"{live.name}.before-restore-{stamp}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    kept = next(path for path in map(live.with_name, names) if not path.exists())
    os.link(live, kept)
    log = live.with_name(f"{live.name}-wal")
    if log.exists():  # the previous one is too damaged to take its log in
        log.replace(kept.with_name(f"{kept.name}-wal"))
    live.with_name(f"{live.name}-shm").unlink(missing_ok=True)
    return kept
