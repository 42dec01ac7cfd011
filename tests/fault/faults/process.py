"""A program under test, and what can be done to a process: kill -9, pause, look at its size.

Owns the processes it starts: leaving `running` ends each one, whatever happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil

OUTPUT_LIMIT = 64 << 20
"""Bytes of one line that is read back."""


@asynccontextmanager
async def running(
    command: Sequence[str], *, environ: Mapping[str, str] | None = None, output: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`command`, killed with its whole group at the end of the block.

    It has pipes to its stdin, stdout and stderr; with `output`, what it prints is appended to that file.
    """
    file = output.open("ab") if output is not None else None
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=file or asyncio.subprocess.PIPE,
        stderr=file or asyncio.subprocess.PIPE,
        env={**os.environ, **(environ or {})},
        limit=OUTPUT_LIMIT,
        start_new_session=True,
    )
    if file is not None:
        file.close()
    try:
        yield process
    finally:
        kill_group(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(OSError):
            await process.stdin.wait_closed()
        await process.wait()


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process takes a signal, instead of ending by it."""
    words = Path(f"/proc/{pid}/status").read_text().split()
    return bool(int(words[words.index("SigCgt:") + 1], 16) >> (number - 1) & 1)


def kill(pid: int) -> None:
    """kill -9, the fault that no program can prepare for in its last moment."""
    os.kill(pid, signal.SIGKILL)


def kill_group(leader: int) -> None:
    """kill -9 for a program of `running` with everything that stands around it; one that is gone is left alone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """SIGSTOP for the length of the block, then SIGCONT; a process that ended meanwhile is left alone."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def innermost(pid: int) -> int:
    """The program itself, when `pid` is strace, unshare or another wrapper around it that stayed."""
    process = psutil.Process(pid)
    while children := process.children():
        process = children[0]
    return int(process.pid)


def descriptors(pid: int) -> int:
    """How many file descriptors it holds."""
    return int(psutil.Process(pid).num_fds())


def memory(pid: int) -> int:
    """Bytes it holds in memory."""
    return int(psutil.Process(pid).memory_info().rss)
