"""The door to processes: starts a child under its keeper, signals it, learns its end, and ends what it left behind.

The node waits for the keeper's end with a pidfd on the event loop: no end can be missed, ours or an adopted one's, on
any loop, without SIGCHLD and without a thread. The child itself is signalled by its keeper alone, which is also its
only reaper, so no signal of ours ever reaches a reused pid. Linux 5.3 or newer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from atoll.errors import AlreadyRunning, ProgramMissing
from atoll.settings import Supervisor as Limits
from atoll.supervisor import processes, record
from atoll.supervisor.ending import Ending
from atoll.supervisor.processes import MARK
from atoll.supervisor.program import Command
from atoll.supervisor.record import Note, Places, Record

KEEPER = Path(__file__).with_name("keeper.py")
START_LIMIT = 20.0
"""Seconds a keeper may take to say that its child runs (it takes 0.02 on an idle machine)."""
KILL_LIMIT = 2.0
"""Seconds after which a keeper that was told to end everything is ended itself."""
SWEEPS = 20
"""Rounds of looking for what bears the mark; each ends all that it finds, so forks cannot win for long."""


@dataclass(frozen=True)
class Order:
    """One child to start. `grace` in seconds; the signal by number."""

    note: Note
    command: Command
    environment: Mapping[str, str]
    stop_signal: int
    grace: float
    limits: Limits = field(default_factory=Limits)


class Child:
    """A child that runs under its keeper: started by us, or adopted from a node before us."""

    def __init__(self, note: Note, pid: int, start: int, keeper: int, pidfd: int, places: Places) -> None:
        self.note = note
        self.pid = pid
        self.start = start
        self.keeper = keeper
        self.gone = asyncio.Event()
        """Set when keeper and child have ended and all that they started has."""
        self._pidfd = pidfd
        self._places = places
        self._told: Callable[[], None] = lambda: None

    def watch(self, told: Callable[[], None]) -> None:
        """Call `told` once, on the running loop, when it is gone."""
        self._told = told
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        with contextlib.suppress(ChildProcessError):  # an adopted keeper is init's to reap
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        os.close(self._pidfd)
        self._pidfd = -1
        self.gone.set()
        self._told()

    def let_go(self) -> None:
        """Stop watching; it runs on, for the next node."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def stop(self) -> None:
        """Send its stop signal to its group."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL for it and everything it started."""
        self._signal(signal.SIGUSR1)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def sweep(self) -> int:
        """SIGKILL for keeper, child and strays, without the keeper's help; how many were found."""
        return await asyncio.to_thread(end_marked, self.note.mark, (self.pid, self.start))

    async def ending(self) -> Ending:
        """How it ended. Strays of a keeper that was killed are ended first."""
        return await asyncio.to_thread(ending_of, self._places, self.note, (self.pid, self.start))


def ending_of(places: Places, note: Note, child: tuple[int, int]) -> Ending:
    """Read how a child whose keeper is gone has ended; a keeper that did not say so left strays to end. Blocking."""
    told = record.read(places.record(note.instance))
    known = told.ending if told is not None and told.note.mark == note.mark else Ending(None)
    if known.code is None or (told is not None and not told.subreaper):
        end_marked(note.mark, child)
    return known


async def start(order: Order, places: Places) -> Child:
    """Start a child. Cancelled meanwhile, it is ended again.

    Raises:
        ProgramMissing: the system would not execute it; says why.
        AlreadyRunning: this instance has a keeper already (see its record).
        OSError: no memory, descriptors or processes left.
    """
    # a thread goes on when its waiter does not: nobody would know of what it started
    spawning = asyncio.get_running_loop().run_in_executor(None, _spawn, order, places)
    try:
        reply, keeper, pidfd = await asyncio.shield(spawning)
    except asyncio.CancelledError:
        _, _, pidfd = await spawning
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGUSR1)
        await _reaped(pidfd)
        raise
    word, _, rest = reply.partition(" ")
    if word == "runs":
        _, _, child = rest.partition(" ")
        pid, begun = child.split(",")
        return Child(order.note, int(pid), int(begun), keeper, pidfd, places)
    await _reaped(pidfd)
    if word == "busy":
        raise AlreadyRunning(f"instance {order.note.instance} runs already", hint="it is adopted, or ended, first")
    if word == "refused":
        number, _, step = rest.partition(" ")
        what = order.command.folder if step == "folder" else order.command.program
        raise ProgramMissing(
            f"{what}: {os.strerror(int(number))}",
            hint="check working_dir and command",
            tried=[order.command.program],
        )
    raise OSError(f"the keeper of {order.note.instance} ended before it said anything")


async def _reaped(pidfd: int) -> None:
    with contextlib.suppress(ChildProcessError):
        await asyncio.to_thread(os.waitid, os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)


def adopt(found: Record, places: Places) -> Child | None:
    """The running child of a record that an earlier node left; None when it cannot be proved to run."""
    if found.child is None:
        return None
    try:
        pidfd = os.pidfd_open(found.keeper[0])
    except OSError:
        return None
    if not record.proved(found):  # asked after the pidfd was got: from here on it cannot become another process
        os.close(pidfd)
        return None
    return Child(found.note, found.child[0], found.child[1], found.keeper[0], pidfd, places)


def end_marked(mark: str, child: tuple[int, int] | None = None) -> int:
    """SIGKILL for every process that bears the mark or is in the child's session; how many there were. Blocking."""
    ended: set[int] = set()
    for _ in range(SWEEPS):
        alive = [one for one in processes.table().values() if _ours(one, mark, child)]
        if not alive:
            break
        for one in alive:
            with contextlib.suppress(OSError):
                pidfd = os.pidfd_open(one.pid)
                try:
                    now = processes.process(one.pid)
                    if now is not None and now.start == one.start:
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                        ended.add(one.pid)
                        select.select([pidfd], [], [], 0.2)
                finally:
                    os.close(pidfd)
    return len(ended)


def _ours(one: processes.Process, mark: str, child: tuple[int, int] | None) -> bool:
    if one.zombie or one.pid == os.getpid():
        return False
    in_session = child is not None and one.session == child[0] and one.start >= child[1]
    return (in_session and _leads(child, one)) or processes.bears(one.pid, mark)


def _leads(child: tuple[int, int] | None, member: processes.Process) -> bool:
    """A session id is a pid and could be a later one's; it is the child's while its leader is the child, or gone."""
    if child is None:
        return False
    leader = processes.process(child[0])
    return leader is None or leader.start == child[1] or (leader.zombie and member.pid == child[0])


def _spawn(order: Order, places: Places) -> tuple[str, int, int]:
    """(what the keeper said, its pid, its pidfd). Blocking, some 20 ms."""
    note = order.note
    log = places.log(note.service, note.instance)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    limits = order.limits
    arguments = [sys.executable, "-I", "-S", str(KEEPER)]
    arguments += [str(places.record(note.instance)), str(places.lock(note.instance)), str(log)]
    arguments += [str(limits.line_limit), str(limits.log_bytes), str(int(order.stop_signal)), str(order.grace)]
    environment = {MARK: note.mark, **{name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}}
    with contextlib.ExitStack() as stack:
        hear_order, give_order = _pipe(stack)
        hear_reply, give_reply = _pipe(stack)
        keeper = os.posix_spawn(
            sys.executable,
            arguments,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, hear_order.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, give_reply.fileno(), 1),
                (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
            ],
            setsid=True,
        )
        try:
            pidfd = os.pidfd_open(keeper)
        except OSError:
            stack.close()  # without an order it leaves
            os.waitpid(keeper, 0)
            raise
        hear_order.close()
        give_reply.close()
        with contextlib.suppress(BrokenPipeError):
            give_order.write(_spoken(order))
            give_order.close()
        ready, _, _ = select.select([hear_reply], [], [], START_LIMIT)
        reply = os.read(hear_reply.fileno(), 4096).decode() if ready else ""
        if not reply:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            end_marked(note.mark)
        return reply, keeper, pidfd


def _pipe(stack: contextlib.ExitStack) -> tuple[BinaryIO, BinaryIO]:
    hear, give = os.pipe()
    return stack.enter_context(open(hear, "rb", buffering=0)), stack.enter_context(open(give, "wb"))  # noqa: PTH123


def _spoken(order: Order) -> bytes:
    """The order as the keeper reads it: NUL between the parts, `end` last."""
    command = order.command
    environment = {**order.environment, MARK: order.note.mark}
    parts = [command.program, command.folder, str(len(command.arguments)), *command.arguments]
    parts += [f"{name}={value}" for name, value in environment.items()]
    return b"\0".join([msgspec.json.encode(order.note), *(os.fsencode(part) for part in parts), b"end"])
