"""A disk that a test can count on, or break: SQLite's layer to the files, with a say in every write and sync."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, Self

import apsw

_names = itertools.count()


class Disk(apsw.VFS):
    """The real files; `full` and `broken` make writes fail from now on, `broken_sync` the n-th next sync.

    `broken_kind` (`db` or `wal`) makes the next sync of that file fail, once: as fsync does, that forgets its error.
    """

    def __init__(self) -> None:
        self.name = f"test-disk-{next(_names)}"
        self.full = False
        self.broken = False
        self.broken_sync = 0
        self.broken_kind = ""
        self.syncs: Counter[str] = Counter()
        """Syncs so far, of `db` and `wal`."""
        super().__init__(self.name, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def xOpen(self, name: Any, flags: Any) -> DiskFile:  # noqa: N802  SQLite's name
        return DiskFile(self, name, flags)


class DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._kind = "wal" if flags[0] & apsw.SQLITE_OPEN_WAL else "db"
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802  SQLite's name
        if self._disk.full:
            raise apsw.FullError("no space left on device")
        if self._disk.broken:
            raise apsw.IOError("input/output error")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802  SQLite's name
        self._disk.syncs[self._kind] += 1
        if self._disk.broken_kind == self._kind:
            self._disk.broken_kind = ""
            raise apsw.IOError("input/output error")
        if self._disk.broken_sync:
            self._disk.broken_sync -= 1
            if not self._disk.broken_sync:
                raise apsw.IOError("input/output error")
        super().xSync(flags)
