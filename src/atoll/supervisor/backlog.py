"""What children printed and nobody has taken yet: their log files read on from remembered places, no line skipped.

Where `output.Follower` is for eyes (it skips to stay live), this is for a store: it reads in shares, an instance at a
time, so that one that floods takes nothing from the others; what is not read stays in the file until the keeper rotates
it away. Lines lost that way are counted exactly while we run; when they went while nobody ran, the gap is told without a
number. A place is where to read on; whoever takes the lines keeps it, and gives it back after a restart. Blocking.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from atoll.kit.logs import Log
from atoll.supervisor.output import HEAD, sources

SHARE = 256 << 10
"""Bytes of one instance taken in one round."""
ROUND = 2 << 20
"""Bytes of all instances taken in one round; each instance with something to read gets its share in turn."""


log = Log("logs")
LATEST = 9e9
"""Wall seconds that a stamp cannot reach; beyond it, it is a torn write."""


class Place(NamedTuple):
    """Where to read on: in the file of this inode that begins with these bytes (hex), `offset` bytes from its start."""

    inode: int
    head: str
    offset: int


@dataclass(slots=True)
class Piece:
    """Whole lines of one instance, as lists side by side; `starts` are offsets in the file of `place`."""

    service: str
    instance: str
    place: Place
    """Behind the last line."""
    walls: list[float] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    """`|` a line, `+` one that was cut, `=` a note of the keeper's."""
    texts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    lost: int = 0
    """Lines before these that were rotated away unread."""
    gap: bool = False
    """Lines before these are missing, and nobody knows how many."""


class _Cursor:
    """How far one instance's files were read. Holds the file open only while there is more to read."""

    def __init__(self, service: str, instance: str, path: Path, place: Place | None) -> None:
        self.service, self.instance, self.path = service, instance, path
        self.older = path.with_name(path.name + ".1")
        self.inode, self.head, self.offset = (
            (place.inode, bytes.fromhex(place.head), place.offset) if place else (0, b"", 0)
        )
        self.file: BinaryIO | None = None
        self.seen = (0, -1)
        """Inode and size of `path` when everything was read."""
        self.lost = 0
        self.gap = False

    def poll(self, share: int) -> Piece | None:
        """The next lines; None when there are none."""
        if self.file is None and not self._begin():
            return None
        while True:
            piece = self._read(share)
            if piece is not None or not self._next():
                break
        if piece is not None and (self.lost or self.gap):
            piece.lost, piece.gap, self.lost, self.gap = self.lost, self.gap, 0, False
        return piece

    def close(self) -> None:
        """Let go of the file; the place stays."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def _begin(self) -> bool:
        """Open the file to read on in; False: there is nothing new."""
        try:
            state = self.path.stat()
        except OSError:
            return False
        if (state.st_ino, state.st_size) == self.seen:
            return False
        if self.inode == 0:
            return self._open(self.older) or self._open(self.path)
        if self._open(self.path) or self._open(self.older):
            return True
        self.gap = True
        return self._restart()

    def _open(self, path: Path) -> bool:
        """Open `path` if it is the file of our place, or if we have none yet."""
        try:
            file = path.open("rb", buffering=0)
        except OSError:
            return False
        try:
            inode, head = os.fstat(file.fileno()).st_ino, os.pread(file.fileno(), HEAD, 0)
        except OSError:
            file.close()
            raise
        if self.inode not in {0, inode} or not head.startswith(self.head):
            file.close()
            return False
        self.close()
        self.file, self.inode, self.head = file, inode, head
        return True

    def _restart(self) -> bool:
        self.close()
        self.inode, self.head, self.offset = 0, b"", 0
        return self._open(self.older) or self._open(self.path)

    def _next(self) -> bool:
        """At the end of the open file: go on to the one after it; False when this is the newest."""
        if self.file is None or self._rest():
            return False
        ours_is_older = False
        with contextlib.suppress(OSError):
            ours_is_older = self.older.stat().st_ino == self.inode
        self.close()
        self.inode, self.head, self.offset = 0, b"", 0
        if ours_is_older:
            return self._open(self.path)
        return self._open(self.older) or self._open(self.path)

    def _read(self, share: int) -> Piece | None:
        assert self.file is not None
        self._rotated_past()
        fd = self.file.fileno()
        data = os.pread(fd, share, self.offset)
        end = data.rfind(b"\n") + 1
        if end == 0:
            if len(data) < share:
                return None
            end = len(data)  # no newline in a whole share: a line longer than any keeper writes
        if len(self.head) < HEAD:
            self.head = os.pread(fd, HEAD, 0)
        piece = Piece(self.service, self.instance, Place(self.inode, self.head.hex(), self.offset + end))
        _split(data[:end], self.offset, piece)
        self.offset += end
        if len(data) < share:
            self._rest()
        return piece

    def _rest(self) -> bool:
        """Let go of the open file if it is the newest: everything in it was read."""
        try:
            inode = self.path.stat().st_ino
        except OSError:
            inode = self.inode  # gone with its instance
        if inode == self.inode:
            self.seen = (inode, self.offset)  # not its size: what came since our read is still to be read
            self.close()
        return inode == self.inode

    def _rotated_past(self) -> None:
        """When our file was rotated twice since, what is left in it is given up and counted."""
        assert self.file is not None
        with contextlib.suppress(OSError):
            if self.inode in {self.path.stat().st_ino, self.older.stat().st_ino}:
                return
            rest, position = 0, self.offset
            while data := os.pread(self.file.fileno(), ROUND, position):
                rest += data.count(b"\n")
                position += len(data)
            self.lost += rest
            if not self._restart():
                raise FileNotFoundError(self.path)


def _split(data: bytes, offset: int, piece: Piece) -> None:
    stamp, wall = b"", 0.0
    walls, kinds, texts, starts = piece.walls, piece.kinds, piece.texts, piece.starts
    for raw in data.split(b"\n"):
        start, offset = offset, offset + len(raw) + 1
        said, _, rest = raw.partition(b" ")
        if not rest:
            continue
        if said != stamp:
            try:
                wall, stamp = float(said), said
            except ValueError:
                continue
            if not 0 <= wall < LATEST:
                stamp = b""
                continue
        text = rest.decode("utf-8", "replace")
        kind = text[0]
        if kind not in "|+=":
            continue
        walls.append(wall)
        kinds.append(kind)
        texts.append(text[1:].rstrip("\r"))
        starts.append(start)


class Backlog:
    """The lines of every instance under `folder` that were not taken yet. `places` by `service/instance`. `service`: whose
    instances all of them are, whatever their folders are called.
    """

    def __init__(self, folder: Path, places: Mapping[str, Place], service: str = "") -> None:
        self._folder = folder
        self._service = service
        self._places = dict(places)
        self._cursors: dict[str, _Cursor] = {}
        self._turn = 0

    def poll(self, limit: int = ROUND) -> list[Piece]:
        """One round: at most SHARE bytes of each instance and about `limit` of all. Empty: everything was taken."""
        self._look()
        cursors = list(self._cursors.values())
        found, taken = [], 0
        for index in range(len(cursors)):
            cursor = cursors[(self._turn + index) % len(cursors)]
            try:
                piece = cursor.poll(SHARE)
            except OSError as error:  # a disk that fails must not end the reading of the others
                cursor.close()
                log.warning("a log file cannot be read", file=cursor.path, error=error)
                continue
            if piece is not None:
                found.append(piece)
                taken += SHARE
                if taken >= limit:
                    self._turn += index + 1
                    break
        return found

    def close(self) -> None:
        """Let go of every file."""
        for cursor in self._cursors.values():
            cursor.close()

    def _look(self) -> None:
        """Notice instances that are new, and those whose files are gone."""
        found = {f"{self._service or source.service}/{source.instance}": source for source in sources(self._folder)}
        for name in self._cursors.keys() - found.keys():
            self._cursors.pop(name).close()
        for name, source in found.items():
            if name not in self._cursors:
                place = self._places.pop(name, None)
                self._cursors[name] = _Cursor(self._service or source.service, source.instance, source.path, place)
