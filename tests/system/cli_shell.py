"""A user's shell in a project folder, for system tests of the command line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.ports import free_port


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """A user's shell in a project folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ATOLL_")}
        self.environ = {
            **kept,
            "ATOLL_API_PORT": str(free_port()),
            "ATOLL_GATEWAY_PORT": str(free_port()),
            "ATOLL_TELEMETRY_ENABLED": "0",  # half a second of CPU and 300 MB: only for tests that are about it
            "NO_COLOR": "1",
        }

    def __call__(self, *arguments: str, timeout: float = 25) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "atoll.cli.main", *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def node_pid(self) -> int:
        pid: int = json.loads((self.folder / ".atoll/run/node.json").read_text())["pid"]
        return pid

    def ours(self) -> list[psutil.Process]:
        """Every process that works for this folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                told = " ".join(process.cmdline())
                if process.status() != psutil.STATUS_ZOMBIE and str(self.folder) in f"{told} {process.cwd()}":
                    found.append(process)
        return found


@contextlib.contextmanager
def project(text: str, **files: str) -> Iterator[Shell]:
    """A shell in a new folder with this atoll.yaml and these Python files; nothing of it runs afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="atoll-"))
    (folder / "atoll.yaml").write_text(text)
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    made = Shell(folder)
    try:
        yield made
    finally:
        made("down", "--force")
        for process in made.ours():
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)
