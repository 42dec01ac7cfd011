"""`atoll up -d`: the same command in a session of its own, its output in `<state>/logs/node.log`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.cli.early import SIGNALS
from atoll.kit.files import private_folder
from atoll.kit.garbage import page_by_page
from atoll.kit.text import scrub

LOG_LIMIT = 8 << 20
"""Bytes of an earlier node.log that are kept: at the next start it becomes node.log.1 when it is longer."""
TAIL_BYTES = 16 << 10


class Detached:
    """A node started in the background, watched until it is known to run."""

    def __init__(self, arguments: Sequence[str], log: Path, environ: Mapping[str, str]) -> None:
        self.log = log
        private_folder(log.parent)
        with contextlib.suppress(OSError):
            if log.stat().st_size > LOG_LIMIT:
                log.replace(log.with_name(log.name + ".1"))
        self._from = log.stat().st_size if log.exists() else 0
        self.exit_code: int | None = None
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "atoll.cli.main", *arguments],
            page_by_page(environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=SIGNALS,  # until it can take them
            setsigdef=(*SIGNALS, signal.SIGPIPE),
        )

    def ended(self) -> bool:
        """Whether it has ended already; `exit_code` tells how (negative: the signal's number)."""
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code is not None

    def stop(self) -> None:
        """Ask it to end gracefully."""
        if not self.ended():
            os.kill(self.pid, signal.SIGTERM)

    def said(self, lines: int = 12) -> list[str]:
        """The last lines it wrote since it was started."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(self._from, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode("utf-8", "backslashreplace")
        except OSError:
            return []
        return [scrub(line) for line in text.splitlines()[-lines:]]
