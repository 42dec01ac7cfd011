"""The one SQLite connection of a store: what is durable, and reading it back.

Blocking, and used by one thread at a time. It is the only connection that writes or checkpoints (two of them corrupt the
file in SQLite 3.7.0 to 3.51.2), and it locks the file exclusively, so that nobody else's SQLite can. Checkpoints are made
by us, not by SQLite, because SQLite hides their errors: an fsync that failed and is then repeated "succeeds" without the
data. Any error but a full disk is final.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw
import msgspec

from atoll.errors import AlreadyRunning, StorageFailed, StorageFull, StorageIncompatible
from atoll.kit.files import PRIVATE_FILE, sync_folder
from atoll.model.names import Key
from atoll.store.base import Revision
from atoll.store.image import Commit, Image
from atoll.store.rows import Row, damaged, lease_rows, load, rows
from atoll.store.schema import PLACES, check, migrate

CHECKPOINT_PAGES = 1000
"""Pages in the write-ahead log (4 MB) from which it is copied into the database."""
WAL_BYTES = 16 << 20
"""Size to which a write-ahead log that grew in a burst is cut again."""

ROWS = 500
"""Rows of one INSERT. Every statement gives the interpreter away and waits to get it back, up to 5 ms each time when the
loop is busy: so a group is one statement, not one a row."""
FORGET = f"""
DELETE FROM log WHERE id IN (
    SELECT log.id FROM json_each(?) AS gone CROSS JOIN log
    ON log.key = gone.value ->> 0
    AND log.id BETWEEN (gone.value ->> 1) * {PLACES} AND (gone.value ->> 1) * {PLACES} + {PLACES - 1}
)"""  # noqa: S608  numbers of ours only


class Record(msgspec.Struct, frozen=True):
    """What one transaction keeps."""

    commits: Sequence[Commit]
    granted: Mapping[str, float]
    ended: frozenset[str]
    compacted: Revision | None
    garbage: Sequence[tuple[Key, Revision]]


class Journal:
    """`state.db`, open between `open` and `close`."""

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        self.path = path
        self.wal_pages = 0
        self._vfs = vfs
        self._connection: apsw.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed yet."""
        return self._connection is not None

    @property
    def connection(self) -> apsw.Connection:
        """The connection.

        Raises:
            StorageFailed: it is closed.
        """
        if self._connection is None:
            raise StorageFailed("the store is closed")
        return self._connection

    def open(self) -> Image:
        """Open or create the file, migrate it, check it, and read everything.

        Raises:
            AlreadyRunning: another program has the file open.
            StorageIncompatible: it is not ours, or newer than we are; untouched.
            StorageFull: no room for a new or migrated file.
            StorageFailed: it is damaged or cannot be read.
        """
        try:
            self._connection = self._connect()
            # Closing shall change nothing until the file is known to be ours.
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._connection.pragma("locking_mode", "exclusive")
            check(self._connection)
            self._set_up(self._connection)
            verify(self._connection)
            migrate(self._connection)
            image = load(self._connection)
            sync_folder(self.path.parent)  # a new file's name is durable too
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            return image
        except (apsw.Error, OSError) as error:
            self.close()
            raise translated(error, self.path) from error
        except BaseException:
            self.close()
            raise

    def write(self, record: Record) -> None:
        """Make a record durable, as a whole.

        Raises:
            StorageFull: no room; nothing was done.
            StorageFailed: the disk failed; nothing may be written any more.
        """
        connection = self.connection
        inserts = tuple(rows(record.commits))
        simple = len(inserts) <= ROWS and not record.granted and not record.ended and record.compacted is None
        try:
            if simple:
                _insert(connection, inserts)
            else:
                connection.execute("BEGIN IMMEDIATE")
                self._keep(connection, record, inserts)
                connection.execute("COMMIT")
        except (apsw.Error, StorageFailed) as error:
            failure = self._undo(connection, error)
            if isinstance(failure, StorageFailed):
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            raise failure from error

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database. A full disk only puts it off.

        Raises:
            StorageFailed: the disk failed; the log is kept for the next start.
        """
        try:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self.wal_pages = 0
        except apsw.FullError:
            return
        except apsw.Error as error:
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            raise translated(error, self.path) from error

    def close(self) -> None:
        """Let go of the file; a second time does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(apsw.Error):  # what is acknowledged is in the log, whatever closing meets
                connection.close(True)

    def _connect(self) -> apsw.Connection:
        if not self.path.exists():  # before SQLite does, so that nobody else can read it
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
        return apsw.Connection(os.fspath(self.path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=self._vfs)

    def _set_up(self, connection: apsw.Connection) -> None:
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("fullfsync", True)  # macOS: plain fsync does not reach the disk
        connection.pragma("checkpoint_fullfsync", True)
        connection.pragma("journal_size_limit", WAL_BYTES)
        connection.pragma("trusted_schema", False)
        connection.pragma("cell_size_check", True)
        connection.set_wal_hook(self._count_pages)  # in place of automatic checkpoints

    def _count_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK

    def _keep(self, connection: apsw.Connection, record: Record, inserts: Sequence[Row]) -> None:
        for start in range(0, len(inserts), ROWS):
            _insert(connection, inserts[start : start + ROWS])
        connection.executemany("INSERT INTO leases (id, ttl, sum) VALUES (?, ?, ?)", lease_rows(record.granted))
        connection.executemany("DELETE FROM leases WHERE id = ?", ((lease,) for lease in record.ended))
        if record.compacted is not None:
            if record.garbage:
                connection.execute(FORGET, (msgspec.json.encode(record.garbage).decode(),))
                if connection.changes() != len(record.garbage):
                    raise damaged(self.path, "a version to be compacted is not found")
            connection.execute("UPDATE state SET value = ? WHERE name = 'compacted'", (record.compacted,))

    def _undo(self, connection: apsw.Connection, error: Exception) -> StorageFull | StorageFailed:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except apsw.Error as worse:
            error = worse
        if isinstance(error, StorageFailed):
            return error
        failure = translated(error, self.path)
        return failure if isinstance(failure, StorageFull) else StorageFailed(failure.detail, hint=failure.hint)


def _insert(connection: apsw.Connection, inserts: Sequence[Row]) -> None:
    places = ", ".join(("(?, ?, ?, ?, ?, ?)",) * len(inserts))
    connection.execute(
        f"INSERT INTO log (id, key, value, created, lease, sum) VALUES {places}",  # noqa: S608  only question marks
        [column for row in inserts for column in row],
    )


def verify(connection: apsw.Connection) -> None:
    """Check the pages of the file.

    Raises:
        StorageFailed: SQLite finds it damaged.
    """
    found = connection.execute("PRAGMA quick_check(1)").get
    if found != "ok":
        raise damaged(Path(connection.filename), str(found))


def translated(error: Exception, path: Path) -> StorageFull | StorageFailed | StorageIncompatible | AlreadyRunning:
    """What an error of SQLite or of the system means to us."""
    match error:
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return StorageFull(f"no room on disk for {path}", hint="make room, or choose another disk")
        case OSError():
            return StorageFailed(f"{path}: {error.strerror}", hint="look at permissions and at the disk")
        case apsw.FullError():
            return StorageFull(f"no room on disk for {path}", hint="make room; writes go on by themselves then")
        case apsw.NotADBError():
            return StorageIncompatible(f"{path} is not a database", hint="choose another state folder")
        case apsw.BusyError() | apsw.LockedError():
            return AlreadyRunning(f"another program has {path} open", hint="close it", file=str(path))
        case apsw.CorruptError():
            return damaged(path, str(error))
        case _:
            return StorageFailed(
                f"{path}: {error}", hint="look at the disk (dmesg), then start again; acknowledged writes are kept"
            )
