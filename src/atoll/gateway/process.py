"""The gateway's door to processes: run a program to its end, start one that outlives us, tell one process from another.

A pid alone says little, since the kernel gives it out again; pid, start time and boot together name one process for
ever. What `spawn` starts has a session of its own, so that neither a terminal's Ctrl-C nor our own death reaches it, and
so that its children can be found after it is gone: they are the members of the session with its pid as number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from atoll.errors import ProgramMissing

OUTPUT_LIMIT = 1 << 16
"""Characters of a program's output that are kept."""


class Ran(msgspec.Struct, frozen=True):
    """How a program ended: exit code (negative: the signal's number) and what it wrote, stderr after stdout."""

    code: int
    output: str


class Identity(msgspec.Struct, frozen=True):
    """One process, for ever: `start` in clock ticks since the boot named by `boot`."""

    pid: int
    start: int
    boot: str


def run_program(argv: Sequence[str], *, environment: Mapping[str, str] | None = None, timeout: float = 10.0) -> Ran:
    """Run `argv` to its end, `timeout` seconds at most. Blocking.

    Raises:
        ProgramMissing: it cannot be started, or does not end in time.
    """
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            env=None if environment is None else dict(environment),
        )
    except subprocess.TimeoutExpired:
        raise ProgramMissing(f"{argv[0]} did not end within {timeout:g} s", hint="run it by hand to see why") from None
    except OSError as error:
        raise ProgramMissing(f"{argv[0]} cannot be started: {error.strerror}", hint="check the path") from error
    return Ran(done.returncode, (done.stdout + done.stderr).decode(errors="replace")[:OUTPUT_LIMIT])


def spawn(argv: Sequence[str], *, environment: Mapping[str, str], output: int) -> Identity:
    """Start `argv` in a session of its own, its stdout and stderr going to the descriptor `output`. Blocking, about 1 ms.

    Raises:
        ProgramMissing: it cannot be started.
    """
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    try:
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            dict(environment),
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2],
        )
    except OSError as error:
        raise ProgramMissing(f"{argv[0]} cannot be started: {error.strerror}", hint="check the path") from error
    found = identity(pid)
    assert found is not None, "an unreaped child has an entry in /proc"
    return found


def boot_id() -> str:
    """The name of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identity(pid: int) -> Identity | None:
    """The process that has `pid` now, zombies included; None when there is none."""
    fields = _stat(pid)
    return None if fields is None else Identity(pid, int(fields[19]), boot_id())


def alive(process: Identity) -> bool:
    """Whether this very process still runs (a zombie does not)."""
    fields = _stat(process.pid)
    return (
        fields is not None and fields[0] not in "ZX" and int(fields[19]) == process.start and boot_id() == process.boot
    )


def recorded(file: Path) -> Identity | None:
    """The process that a pid file of ours names, alive or not; None when nothing can be read there."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Identity)
    except (OSError, msgspec.DecodeError):
        return None


def members(leader: Identity) -> list[Identity]:
    """The running processes of the session that `leader` opened, itself included; also after its end.

    The kernel gives no number out while a session bears it, so a number in other hands means that nobody is left.
    Scans /proc; blocking, a few milliseconds.
    """
    now = identity(leader.pid)
    if leader.boot != boot_id() or (now is not None and now.start != leader.start):
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            fields = _stat(int(entry.name))
            if fields is not None and int(fields[3]) == leader.pid and fields[0] not in "ZX":
                found.append(Identity(int(entry.name), int(fields[19]), leader.boot))
    return found


def send(process: Identity, number: signal.Signals) -> bool:
    """Signal this very process, whatever has its pid by now; False when it is gone."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        # the descriptor pins the pid: what is alive now is what gets the signal
        if not alive(process):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
        return True
    finally:
        os.close(descriptor)


def reap(pid: int) -> int | None:
    """Collect a child that ended; its exit code (negative: signal), or None when it is not ours or still runs."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if found else None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name (which may hold anything): state is 0, session 3, start time 19."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()
