"""The telemetry program from outside: orders as calls, and what it acknowledged before it died."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fault.faults.needs import _need
from tests.fault.faults.process import innermost, kill

PROGRAM = Path(__file__).parent / "programs" / "telemetry_program.py"
ROOT = Path(__file__).parents[2]


class Refused(Exception):
    """The engine said no; `code` is its error code."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class TelemetryProcess:
    """A running program; made by `telemetry_process`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        """The program's own, also behind unshare."""
        return innermost(self.process.pid)

    def say(self, do: str, **words: Any) -> None:
        """Give an order; its answer is heard with `hear`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **words}) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any] | None:
        """The next answer; None when the process ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return dict(json.loads(line)) if line.endswith("\n") else None

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises:
            Refused: the engine said no.
        """
        self.say(do, **words)
        answer = self.hear()
        assert answer is not None, "the telemetry program ended"
        if "refused" in answer:
            raise Refused(answer["refused"], answer["detail"])
        return answer

    def kill(self) -> None:
        """kill -9."""
        kill(self.pid)


@contextmanager
def telemetry_process(
    folder: Path, *, disk_bytes: int | None = None, before: Sequence[str] = ()
) -> Iterator[TelemetryProcess]:
    """The program on `folder`, ended and waited for when the block ends."""
    from importlib.util import find_spec

    _need(find_spec("chdb") is not None, 'needs pip install "atoll[telemetry]"')
    command = [*before, sys.executable, str(PROGRAM), str(folder), *([str(disk_bytes)] if disk_bytes else [])]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    with process:
        running = TelemetryProcess(process)
        try:
            assert running.hear() == {"ready": True}, "the store does not open"
            yield running
        finally:
            with contextlib.suppress(ProcessLookupError):
                if process.poll() is None:
                    running.kill()
