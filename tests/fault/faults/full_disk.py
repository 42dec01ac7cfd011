"""A disk that gets full and heals: a small tmpfs that only the program and its children see.

Owns no process: gives the words to put before a command, and reaches into its mount namespace from outside.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.fault.faults import needs


def small_disk(folder: Path, megabytes: int) -> list[str]:
    """The words before a command that let it run with a tmpfs of that size at `folder`."""
    needs.own_mounts()
    folder.mkdir(parents=True, exist_ok=True)
    script = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, "small-disk", f"{megabytes}m", str(folder)]


class Ballast:
    """A file that takes what is left of the disk that process `pid` sees at `folder`."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.path = Path(f"/proc/{pid}/root{folder}/ballast")

    def fill(self, leave: int = 0) -> None:
        """Take all but `leave` bytes."""
        disk = os.statvfs(self.path.parent)
        free = disk.f_bavail * disk.f_frsize
        with self.path.open("ab", buffering=0) as file:
            file.write(b"\0" * max(0, free - leave))

    def drop(self) -> None:
        """Give it all back: the disk heals."""
        self.path.unlink(missing_ok=True)
