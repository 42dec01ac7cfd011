"""The guard: lets paused processes go on when the drill that paused them is gone, however it ended.

Run as a script (`python -I -S guard.py`), never imported; standard library only. Reads lines `PID START` (start time in
clock ticks since boot) from stdin; when stdin ends, which the kernel sees to also after a kill -9 of the drill, or after
LIMIT seconds, it sends SIGCONT to each of these very processes and ends. A pid that was given out again has another
start time and is left alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

LIMIT = 300.0
"""Seconds: longer than any drill may pause."""


def main() -> None:
    """Wait for the end of stdin."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    deadline = time.monotonic() + LIMIT  # noqa: TID251  a script of its own: imports nothing of ours
    text = b""
    while (left := deadline - time.monotonic()) > 0:  # noqa: TID251
        if select.select([0], [], [], left)[0]:
            piece = os.read(0, 4096)
            if not piece:
                break
            text += piece
    for line in text.decode("ascii", "replace").splitlines():
        pid, _, start = line.partition(" ")
        if pid.isdigit() and started(pid) == start:
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGCONT)


def started(pid: str) -> str:
    """The start time of the process that has this pid now; empty when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  no pathlib: it starts in 10 ms
            text = file.read()
        return text[text.rindex(b")") + 2 :].split()[19].decode()
    except (OSError, ValueError, IndexError):
        return ""


if __name__ == "__main__":
    main()
