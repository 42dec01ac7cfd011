"""`<run>/node.json` and `<run>/node.lock`: which process is the node of a state folder, proved by its start time."""

from __future__ import annotations

import contextlib
import os

import msgspec
import psutil

from atoll import __version__
from atoll.errors import AlreadyRunning
from atoll.kit.files import LockFile, private_folder, replace_file
from atoll.settings import Settings

START_SLACK = 2.0
"""Seconds by which two readings of a start time may differ: it is reckoned from a boot time that NTP corrects."""


class NodeFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the node of a state folder says of itself."""

    pid: int
    started: float
    """Start time of the process (wall seconds), so that a reused pid is not taken for it."""
    version: str = __version__
    parts: dict[str, str] = {}
    """Parts of the platform that run, and where: `gateway` → `http://127.0.0.1:8080`."""
    ready: float | None = None
    """Seconds after which everything passed for the first time; None: not yet."""
    failed: dict[str, str] = {}
    """Services that do not come up, and why; since the node started, until everything passed."""


def read(settings: Settings) -> NodeFile | None:
    """The node that runs on this state folder; None when none does."""
    try:
        found = msgspec.json.decode((settings.run / "node.json").read_bytes(), type=NodeFile)
        process = psutil.Process(found.pid)
        if abs(process.create_time() - found.started) > START_SLACK or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except (OSError, ValueError, msgspec.DecodeError, psutil.Error):
        return None
    return found


class NodeClaim:
    """This process as the node of a state folder: holds the lock, keeps the file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = LockFile(settings.run / "node.lock")
        self._file = NodeFile(pid=os.getpid(), started=psutil.Process().create_time())

    def take(self) -> None:
        """Make the folders, take the lock, write the file.

        Raises:
            AlreadyRunning: another process is the node here.
        """
        for folder in (self._settings.state, self._settings.run, self._settings.logs):
            private_folder(folder)
        try:
            self._lock.acquire()
        except BlockingIOError:
            holder = self._lock.holder()
            raise AlreadyRunning(
                f"a platform runs already in {self._settings.state.parent}" + (f" (pid {holder})" if holder else ""),
                hint="`atoll ps` shows it, `atoll apply` brings it up to date, `atoll down` stops it",
                pid=holder,
            ) from None
        self._write()

    def part(self, name: str, where: str) -> None:
        """A part of the platform runs."""
        self._file = msgspec.structs.replace(self._file, parts={**self._file.parts, name: where})
        self._write()

    def ready(self, seconds: float) -> None:
        """Everything passes."""
        self._file = msgspec.structs.replace(self._file, ready=seconds, failed={})
        self._write()

    def failed(self, service: str, cause: str) -> None:
        """A service does not come up."""
        if self._file.ready is None:
            self._file = msgspec.structs.replace(self._file, failed={**self._file.failed, service: cause})
            self._write()

    def release(self) -> None:
        """This process is not the node any more."""
        with contextlib.suppress(OSError):
            (self._settings.run / "node.json").unlink()
        self._lock.release()

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # the file informs others; a full disk must not end the node
            replace_file(self._settings.run / "node.json", msgspec.json.encode(self._file), durable=False)
