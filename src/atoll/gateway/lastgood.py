"""The gateway's files: whole configurations in folders of their own, and two links that say which is which.

    gateway/
      g00000041/  haproxy.cfg  config.json  maps/routes.map …
      current  →  what HAProxy runs; a restart starts from it
      good     →  what a HAProxy process has really been started from; a restart that `current` fails uses it

A configuration is written whole into a new folder and becomes current by renaming one link: a crash of ours leaves the
old or the new one, never half of each. Nobody waits for the disk: what HAProxy was started or reloaded from is synced
just afterwards, and only then called good (a busy disk held a reload up for 8 s); what follows changes made while it
runs is not synced at all, since five fsyncs for every instance would be felt by everybody on that disk. After a power
cut `good` is whole, and `current` may be cut short: its config.json tells. HAProxy is started with `-C …/current` and names its maps relative to
that, so a candidate can be checked in its own folder and runtime commands never need a new path. Files that did not
change are hard links. Folders that no link points at are removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from atoll.kit.files import PRIVATE_FILE, private_folder, sync_folder

MAIN = "haproxy.cfg"
_PREFIX = "g"


class ConfigFolder:
    """The folder `root`; one writer. Every method blocks: call them from a thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._written: dict[str, bytes] = {}
        """What the newest folder holds, to link instead of write; empty until we have written one."""
        self._newest: Path | None = None
        self._started: Path | None = None
        """What HAProxy was last started from, good once it is on disk."""

    @property
    def current(self) -> Path:
        """The link to what HAProxy runs."""
        return self.root / "current"

    @property
    def good(self) -> Path:
        """The link to what HAProxy was last started from."""
        return self.root / "good"

    def target(self, link: Path) -> Path | None:
        """The folder that `link` points at, when both exist and the folder holds a haproxy.cfg."""
        try:
            folder = self.root / link.readlink()
        except OSError:
            return None
        return folder if (folder / MAIN).is_file() else None

    def write(self, files: Mapping[str, bytes]) -> Path:
        """Put `files` (relative name → content) into a new folder; no link changes, and no disk is waited for."""
        private_folder(self.root)
        folder = self.root / f"{_PREFIX}{self._next():08d}"
        folder.mkdir(mode=0o700)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if self._newest is None or self._written.get(name) != content or not _linked(self._newest / name, path):
                _write(path, content)
        self._written, self._newest = dict(files), folder
        return folder

    def promote(self, folder: Path) -> None:
        """Make `folder` current, in one step; what is no longer linked goes, but for what was current: it may be again."""
        before = self.target(self.current)
        self._point(self.current, folder)
        self._prune(before)

    def started(self, folder: Path) -> None:
        """A HAProxy process was started from `folder`; `mark_good` is to follow."""
        self._started = folder

    def mark_good(self) -> None:
        """What HAProxy was started from is good; it and the link are on disk when this returns."""
        folder = self._started
        if folder is None or self.target(self.good) == folder:
            return
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                sync_folder(path)
            else:
                _sync(path)
        self._point(self.good, folder)
        sync_folder(self.root)
        self._prune()

    def discard(self, folder: Path) -> None:
        """Remove a candidate that was refused, unless a link points at it."""
        if folder not in (self.target(self.current), self.target(self.good)):
            shutil.rmtree(folder, ignore_errors=True)
        if folder == self._newest:
            self._newest, self._written = None, {}

    def _point(self, link: Path, folder: Path) -> None:
        temporary = link.with_name(f".{link.name}.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        temporary.replace(link)

    def _prune(self, before: Path | None = None) -> None:
        kept = {before, self.target(self.current), self.target(self.good), self._newest, self._started}
        for folder in self._folders():
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return [path for path in self.root.glob(f"{_PREFIX}[0-9]*") if path.is_dir() and not path.is_symlink()]

    def _next(self) -> int:
        numbers = [int(path.name[1:]) for path in self._folders() if path.name[1:].isdecimal()]
        return max(numbers, default=0) + 1


def _linked(source: Path, path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.hardlink_to(source)
        return True
    return False


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
