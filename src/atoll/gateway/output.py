"""What HAProxy writes to stdout and stderr, into our log, bounded.

Through a FIFO that HAProxy itself holds open for reading and writing, without blocking: it can neither be stopped by a
full pipe (what does not fit the kernel's 64 kB is lost) nor killed by a reader's end, and the next node reads on where
this one stopped.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from pathlib import Path

from atoll.kit.clock import Clock, Instant
from atoll.kit.logs import Log
from atoll.kit.text import scrub

LINE_LIMIT = 1024
"""Characters of one kept line."""
RATE = 50
"""Lines logged per second; a mass failure writes one per server, and the count says as much."""
KEPT = 40
"""Last lines kept, for the message of a failed start."""
_LEVEL = re.compile(r"^\[(ALERT|WARNING|NOTICE)\]\s+\(\d+\)\s*:\s*")

_OURS = re.compile(
    r"^Proxy \S+ stopped|forced maintenance|for maintenance|Exiting Master|Former worker \(\d+\) exited with code 0"
)
"""What it says of our own doings."""


class Output:
    """The FIFO at `path`, read on the event loop between `open` and `close`."""

    def __init__(self, path: Path, clock: Clock, log: Log) -> None:
        self.path = path
        self.lines: deque[str] = deque(maxlen=KEPT)
        self.unlogged = 0
        """Lines beyond RATE, all told."""
        self._clock = clock
        self._log = log
        self._descriptor: int | None = None
        self._rest = b""
        self._window = Instant(0.0)
        self._in_window = 0

    def open(self) -> int:
        """Make the FIFO when needed and begin to read; the descriptor to give to HAProxy as stdout and stderr."""
        if self._descriptor is None:
            if not self.path.is_fifo():
                self.path.unlink(missing_ok=True)
                os.mkfifo(self.path, 0o600)
            # read-write, so that it never reports an end and never blocks in open
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            asyncio.get_running_loop().add_reader(self._descriptor, self.read)
        return self._descriptor

    def close(self) -> None:
        """Read what is there and stop; HAProxy keeps its end."""
        if self._descriptor is not None:
            self.read()
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def read(self) -> None:
        """Take what the FIFO holds now, at most one kernel buffer of it."""
        if self._descriptor is None:
            return
        try:
            chunk = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._rest = self._rest[: 4 * LINE_LIMIT]
        for line in lines:
            if line.strip():
                self._take(scrub(line.decode(errors="replace").rstrip(), limit=LINE_LIMIT))

    def alerts(self) -> list[str]:
        """HAProxy's own complaints among the last lines, without their level and pid."""
        return complaints("\n".join(self.lines))

    def _take(self, line: str) -> None:
        self.lines.append(line)
        now = self._clock.now()
        if now - self._window >= 1.0:
            self._window, self._in_window = now, 0
        self._in_window += 1
        if self._in_window > RATE:
            self.unlogged += 1
            return
        level = _LEVEL.match(line)
        text = line[level.end() :] if level else line
        if level is None or level[1] == "NOTICE" or _OURS.search(text):
            self._log.debug("haproxy", says=text)
        else:
            self._log.info("haproxy", says=text)


def complaints(output: str) -> list[str]:
    """The ALERT lines of HAProxy's `output` that say what is wrong; its closing summaries are left out."""
    found = []
    for line in output.splitlines():
        level = _LEVEL.match(line)
        if level and level[1] == "ALERT":
            text = line[level.end() :].removeprefix("config : ")
            if not re.search(r"^(Error\(s\) found|Fatal errors found|config : Fatal)|^parsing .*: Fatal", text):
                found.append(scrub(text, limit=LINE_LIMIT))
    return found
