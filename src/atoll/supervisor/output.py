"""What the children said: reading the log files that their keepers write, with or without a node.

A file holds lines `<wall seconds> <mark><bytes>`; see `keeper.Log`. Reading never writes and never waits for a writer.
Text is decoded with replacement and stays unescaped: whoever prints it to a terminal passes it through `kit.text.scrub`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from atoll.kit.clock import Clock
from atoll.model.names import InstanceId, ServiceName

BLOCK = 64 << 10
LIVE_LIMIT = 256 << 10
"""Bytes per instance taken in one look; what is further behind is skipped and counted, so a slow reader stays live."""
HEAD = 64
"""Bytes at the start of a file that tell it from its successor: time stamps with milliseconds, and the first line."""
POLL = 0.1
"""Seconds between two looks at the files while following."""
LAST_LINES = 50
"""Lines kept with an unexpected end."""


class Kind(StrEnum):
    """What a line is."""

    LINE = "|"
    CUT = "+"
    """The rest was over the line limit."""
    NOTE = "="
    """Not the child's: start, end, dropped lines."""


@dataclass(frozen=True)
class Line:
    """One line of one instance; `wall` in seconds since the epoch."""

    service: ServiceName
    instance: InstanceId
    wall: float
    text: str
    kind: Kind = Kind.LINE


@dataclass(frozen=True)
class Source:
    """The log of one instance."""

    service: ServiceName
    instance: InstanceId
    path: Path

    @property
    def older(self) -> Path:
        """The file before the last rotation."""
        return self.path.with_name(self.path.name + ".1")

    def line(self, raw: bytes) -> Line | None:
        """A line of the file; None when it is not one (a torn write after a power cut)."""
        stamp, space, rest = raw.partition(b" ")
        if not space or not rest:
            return None
        try:
            wall, kind = float(stamp), Kind(chr(rest[0]))
        except ValueError:
            return None
        return Line(self.service, self.instance, wall, rest[1:].rstrip(b"\r").decode("utf-8", "replace"), kind)

    def note(self, wall: float, text: str) -> Line:
        """A line of ours."""
        return Line(self.service, self.instance, wall, text, Kind.NOTE)


def sources(folder: Path, services: Collection[ServiceName] | None = None) -> list[Source]:
    """Every instance that has a log, of these services or of all."""
    found = []
    for path in sorted(folder.glob("*/*.log")):
        service = ServiceName(path.parent.name)
        if services is None or service in services:
            found.append(Source(service, InstanceId(path.stem), path))
    return found


def read_logs(
    folder: Path,
    services: Collection[ServiceName] | None = None,
    *,
    since: float | None = None,
    tail: int | None = None,
) -> Iterator[Line]:
    """The kept lines of these services (None: all), merged by time. Blocking.

    `since`: wall seconds of the oldest line wanted; `tail`: only the last so many lines, over all instances.
    """
    if tail is None:
        merged = heapq.merge(*(_whole(source, since) for source in sources(folder, services)), key=_wall)
        yield from (line for line in merged if since is None or line.wall >= since)
    elif tail > 0:
        last = (_last(source, tail) for source in sources(folder, services))
        newest = deque(heapq.merge(*last, key=_wall), maxlen=tail)
        yield from (line for line in newest if since is None or line.wall >= since)


def last_lines(path: Path, count: int = LAST_LINES) -> tuple[str, ...]:
    """The child's own last lines in its latest run. Blocking."""
    found: deque[str] = deque(maxlen=count)
    for line in _last(Source(ServiceName(path.parent.name), InstanceId(path.stem), path), count + 20):
        if line.kind is not Kind.NOTE:
            found.append(line.text)
        elif line.text.startswith("started: "):
            found.clear()
    return tuple(found)


def _wall(line: Line) -> float:
    return line.wall


def _whole(source: Source, since: float | None) -> Iterator[Line]:
    for path in (source.older, source.path):
        try:
            with path.open("rb") as file:
                if since is not None and os.fstat(file.fileno()).st_mtime < since:
                    continue
                for raw in file:
                    line = source.line(raw.rstrip(b"\n"))
                    if line is not None:
                        yield line
        except OSError:
            continue


def _last(source: Source, count: int) -> list[Line]:
    raws: list[bytes] = []
    for path in (source.path, source.older):
        if len(raws) < count:
            raws = _end_of(path, count - len(raws)) + raws
    found = (source.line(raw) for raw in raws[-count:])
    return [line for line in found if line is not None]


def _end_of(path: Path, count: int) -> list[bytes]:
    """The last `count` lines of a file, read from its end."""
    data = b""
    with contextlib.suppress(OSError), path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        while position > 0 and data.count(b"\n") <= count:
            step = min(position, max(BLOCK, len(data)))
            position -= step
            file.seek(position)
            data = file.read(step) + data
        if position > 0:
            data = data.partition(b"\n")[2]
    return [raw for raw in data.split(b"\n") if raw][-count:]


@dataclass
class _Cursor:
    """How far one file was read. The file is known by its inode and its first bytes (inodes are used again)."""

    source: Source
    inode: int = 0
    head: bytes = b""
    offset: int = 0
    skipped: int = 0

    def poll(self) -> list[Line]:
        """What is new."""
        found: list[Line] = []
        if not self._read(self.source.path, found):
            # Rotated: first what was left in the older file, then the new one from its start.
            if self.inode and not self._read(self.source.older, found):
                found.append(self._note("lines are missing: the log was rotated twice since the last look"))
            self.inode, self.head, self.offset = 0, b"", 0
            self._read(self.source.path, found)
        return found

    def knows(self, inode: int, head: bytes) -> bool:
        """Whether this is the file that is being read; the first file seen is."""
        if self.inode not in {0, inode} or not head.startswith(self.head):
            return False
        self.inode, self.head = inode, head
        return True

    def _read(self, path: Path, found: list[Line]) -> bool:
        """Read on in `path`; False when it is not the file that was being read."""
        try:
            with path.open("rb") as file:
                state = os.fstat(file.fileno())
                if not self.knows(state.st_ino, file.read(HEAD)):
                    return False
                behind = state.st_size - self.offset
                if behind > LIVE_LIMIT:
                    file.seek(self.offset)
                    lines = file.read(behind - LIVE_LIMIT).count(b"\n") + 1
                    self.offset = state.st_size - LIVE_LIMIT + len(file.readline())
                    self.skipped += lines
                    found.append(
                        self._note(f"{lines} lines not shown here; `atoll logs {self.source.service}` has them")
                    )
                file.seek(self.offset)
                data = file.read(LIVE_LIMIT)
        except FileNotFoundError:
            return self.inode == 0
        except OSError:
            return True
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        lines_read = (self.source.line(raw) for raw in whole.split(b"\n") if raw)
        found += [line for line in lines_read if line is not None]
        return True

    def _note(self, text: str) -> Line:
        state = self.source.path.stat() if self.source.path.exists() else None
        return self.source.note(state.st_mtime if state else 0.0, text)


@dataclass
class Follower:
    """New lines as they come, of instances that are there and of those to come. `poll` blocks for some milliseconds."""

    folder: Path
    services: Collection[ServiceName] | None = None
    from_start: bool = False
    """Whether what files hold at the first look counts as new."""
    _cursors: dict[Path, _Cursor] = field(default_factory=dict)
    _looked: bool = False

    def poll(self) -> list[Line]:
        """The lines since the last call, by time; at most LIVE_LIMIT bytes per instance, the rest skipped and noted."""
        for source in sources(self.folder, self.services):
            if source.path not in self._cursors:
                cursor = _Cursor(source)
                if not self._looked and not self.from_start:
                    with contextlib.suppress(OSError), source.path.open("rb") as file:
                        cursor.knows(os.fstat(file.fileno()).st_ino, file.read(HEAD))
                        cursor.offset = file.seek(0, os.SEEK_END)
                self._cursors[source.path] = cursor
        self._looked = True
        return sorted((line for cursor in self._cursors.values() for line in cursor.poll()), key=_wall)

    @property
    def skipped(self) -> int:
        """Lines that were passed over because this reader was too slow."""
        return sum(cursor.skipped for cursor in self._cursors.values())


async def follow_logs(
    folder: Path, services: Collection[ServiceName] | None = None, *, clock: Clock, tail: int = 0
) -> AsyncIterator[Line]:
    """The last `tail` lines, then every new one, for ever. Needs no node; survives one."""
    follower = Follower(folder, services)
    await asyncio.to_thread(follower.poll)
    for line in await asyncio.to_thread(lambda: list(read_logs(folder, services, tail=tail))):
        yield line
    while True:
        for line in await asyncio.to_thread(follower.poll):
            yield line
        await clock.sleep(POLL)
