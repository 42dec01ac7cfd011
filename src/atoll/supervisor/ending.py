"""How a child ended, and in words. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.kit.text import scrub

_MEMORY_WORDS = (
    "MemoryError",
    "OutOfMemoryError",
    "out of memory",
    "Out of memory",
    "Cannot allocate memory",
    "std::bad_alloc",
)
"""What runtimes print when an allocation fails: Python, Java, Node.js and Go, libc, C++."""


@dataclass(frozen=True)
class Ending:
    """One end of one child. `code` as in `waitpid`: negative for a signal; None when nobody was there to see it."""

    code: int | None
    oom: bool = False
    """The kernel killed something for memory while it ran, and it died of SIGKILL that was not ours."""
    lines_cut: int = 0
    lines_dropped: int = 0


def cause_of(ending: Ending, last_lines: Sequence[str]) -> str:
    """The end in words: `exit 3`, `killed by SIGSEGV`, `killed by SIGKILL, probably out of memory`."""
    if ending.code is None:
        return "its keeper was killed"
    if ending.code < 0:
        words = f"killed by {_name(-ending.code)}"
        if ending.oom:
            return f"{words}, probably out of memory"
    else:
        words = f"exit {ending.code}"
    if ending.code != 0 and any(word in line for line in last_lines[-10:] for word in _MEMORY_WORDS):
        return f"{words}, probably out of memory"
    return words


def with_last_line(cause: str, last_lines: Sequence[str]) -> str:
    """The cause and, for the eye, the last line that says something."""
    spoken = next((line.strip() for line in reversed(last_lines) if line.strip()), "")
    return f"{cause}: {scrub(spoken, limit=160)}" if spoken else cause


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
