"""Syscalls of a program: made to fail or to be slow, and read back in the order in which they really happened.

Each function gives the words to put before a command. Counts of `when` are strace's: per thread, and the store has one
writer thread.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.fault.faults import needs

SYNCS = "fdatasync,fsync"


def failing(
    calls: str, error: str, *, first: int = 1, last: int | None = None, path: Path | None = None, log: Path
) -> list[str]:
    """The `first` to `last` (or every later one) of the `calls` (comma-separated) of a thread fail with `error`.

    With `path` only those on that file count and fail.
    """
    when = f"{first}+" if last is None else f"{first}..{last}"
    only = ["-P", str(path)] if path is not None else []
    return [*_injected(f"inject={calls}:error={error}:when={when}", calls, log), *only]


def slow(calls: str, milliseconds: int, *, log: Path) -> list[str]:
    """Each of the `calls` takes that much longer."""
    return _injected(f"inject={calls}:delay_enter={milliseconds * 1000}", calls, log)


def traced(calls: str, *, log: Path) -> list[str]:
    """Write down each of the `calls`, with the paths of descriptors and the bytes that were written."""
    needs.strace()
    return ["strace", "-f", "-y", "-s", "70000", "-e", f"trace={calls}", "-o", str(log)]


def _injected(what: str, calls: str, log: Path) -> list[str]:
    needs.strace()
    return ["strace", "-f", "-y", "-s", "32", "-e", f"trace={calls}", "-e", what, "-o", str(log)]


class Syscall(NamedTuple):
    """One call; `began` and `ended` are places in the order of all beginnings and ends."""

    pid: int
    name: str
    arguments: str
    result: str
    began: int
    ended: int

    @property
    def path(self) -> str:
        """The file of its first argument, as -y shows it: `5</state/state.db-wal>`."""
        found = re.match(r"-?\d+<([^>]*)>", self.arguments)
        return found.group(1) if found else ""

    @property
    def went_well(self) -> bool:
        """Whether it returned without an error."""
        return bool(self.result) and not self.result.startswith(("-1", "?"))


_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (.*)", re.DOTALL)
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>", re.DOTALL)
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (.*)", re.DOTALL)


def read_trace(log: Path) -> list[Syscall]:
    """The syscalls of a trace, in the order of their ends; one that never ended is left out."""
    calls: list[Syscall] = []
    begun: dict[int, tuple[str, str, int]] = {}
    for place, line in enumerate(log.read_text(errors="replace").splitlines()):
        if found := _RESUMED.match(line):
            pid, name, rest, result = int(found[1]), found[2], found[3], found[4]
            if pid in begun and begun[pid][0] == name:
                _, arguments, began = begun.pop(pid)
                calls.append(Syscall(pid, name, arguments + rest, result, began, place))
        elif found := _BEGUN.match(line):
            begun[int(found[1])] = (found[2], found[3], place)
        elif found := _WHOLE.match(line):
            calls.append(Syscall(int(found[1]), found[2], found[3], found[4], place, place))
    return calls
