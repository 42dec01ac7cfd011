"""A disk that remembers every write and every sync, and can show what it would hold had the power gone at any moment.

What was synced is there. Of the rest any part may be: a drive writes its cache in any order, in sectors of 512 bytes.
Creating and removing files is taken to be on disk at once, as a journaling file system does on the sync of the folder.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Self

import apsw

SECTOR = 512
_names = itertools.count()


class Lost(Enum):
    """Of what was not synced."""

    ALL = "all"
    NOTHING = "nothing"
    SOME = "some"
    """Each sector by lot."""


@dataclass(frozen=True)
class Write:
    """Bytes at an offset; data None: the file's new length is `offset`."""

    file: str
    offset: int
    data: bytes | None


@dataclass(frozen=True)
class Sync:
    """Everything written to `file` so far is on disk."""

    file: str


@dataclass(frozen=True)
class Removal:
    """`file` is no more."""

    file: str


@dataclass(frozen=True)
class Answer:
    """A commit was acknowledged."""

    revision: int


Event = Write | Sync | Removal | Answer


class PowerDisk(apsw.VFS):
    """SQLite's layer to the disk; `events` in the order in which they happened."""

    def __init__(self) -> None:
        self.name = f"power-{next(_names)}"
        self.events: list[Event] = []
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802
        """Open a file that is remembered."""
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802  SQLite's name and order
        """Remove a file, and remember that."""
        super().xDelete(filename, syncdir)
        self.events.append(Removal(filename))

    def at(self, moment: int, lost: Lost, rng: random.Random) -> dict[str, bytes]:
        """The files, had the power gone before event `moment`."""
        disk: dict[str, bytearray] = {}
        waiting: dict[str, list[Write]] = {}
        for event in self.events[:moment]:
            if isinstance(event, Write):
                disk.setdefault(event.file, bytearray())
                waiting.setdefault(event.file, []).append(event)
            elif isinstance(event, Sync):
                for write in waiting.pop(event.file, ()):
                    _apply(disk[event.file], write)
            elif isinstance(event, Removal):
                disk.pop(event.file, None)
                waiting.pop(event.file, None)
        for writes in waiting.values():
            for write in writes:
                for part in _parts(write):
                    if lost is Lost.NOTHING or (lost is Lost.SOME and rng.random() < 0.5):
                        _apply(disk[part.file], part)
        return {file: bytes(content) for file, content in disk.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def put(self, folder: Path, files: dict[str, bytes]) -> None:
        """Lay `files` out in `folder`."""
        for file, content in files.items():
            (folder / Path(file).name).write_bytes(content)


class _File(apsw.VFSFile):
    def __init__(self, disk: PowerDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._file = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.events.append(Write(self._file, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.events.append(Write(self._file, newsize, None))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._disk.events.append(Sync(self._file))


def _apply(content: bytearray, write: Write) -> None:
    if write.data is None:
        del content[write.offset :]
        content.extend(bytes(max(0, write.offset - len(content))))
        return
    content.extend(bytes(max(0, write.offset - len(content))))
    content[write.offset : write.offset + len(write.data)] = write.data


def _parts(write: Write) -> Iterator[Write]:
    """A write as the sectors that a disk may keep or lose on their own."""
    if write.data is None:
        yield write
        return
    at = 0
    while at < len(write.data):
        size = min(SECTOR - (write.offset + at) % SECTOR, len(write.data) - at)
        yield Write(write.file, write.offset + at, write.data[at : at + size])
        at += size
