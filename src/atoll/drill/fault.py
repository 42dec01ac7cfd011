"""Faults that one machine can make without being root: kill -9, a pause, and stuttering; each of them can be taken back.

A signal goes to every process of an instance (its session), each proved by its start time through a pidfd. What is
paused is known to a guard process, which lets it go on when this process is gone, however it ended. Signals are only
allowed to whoever could send them by hand: the platform's own user, or root.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

from atoll.errors import Conflict, Forbidden
from atoll.gateway.process import Identity, members, send
from atoll.kit.clock import Clock
from atoll.model.names import InstanceId, ServiceName
from atoll.settings import Settings
from atoll.supervisor import record
from atoll.supervisor.record import Places

STOPPED = 0.2
"""Seconds that a stuttering process stands still; in between it runs for RUNS."""
RUNS = 0.02


class Fault(Protocol):
    """Something that is broken on purpose."""

    undoable: bool
    """False: what was killed stays dead; the platform starts it again."""

    silent: bool
    """Whether what it concerns cannot answer meanwhile."""

    async def begin(self) -> None:
        """Break it."""

    async def last(self, seconds: float) -> None:
        """Keep it broken for so long."""

    async def end(self) -> None:
        """Mend it; also when it never began, or twice."""


def leader(service: ServiceName, instance: InstanceId, settings: Settings) -> Identity:
    """The main process of an instance that this machine's node runs, by the node's own record: pid and start time.

    A node's report is no proof: it is a second old, and may come from another machine.

    Raises:
        Conflict: it is not there: it ended meanwhile, or runs elsewhere.
        Forbidden: it belongs to another user.
    """
    for folder in ("children", "guests"):
        found = record.read(Places(settings.run / folder, settings.logs).record(instance))
        if found is not None and found.note.service == service and found.child is not None and record.proved(found):
            break
    else:
        raise Conflict(
            f"{instance} of {service} is not to be found on this machine",
            hint="it ended meanwhile, or runs elsewhere: look with `atoll ps`",
        )
    pid, start = found.child
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise Conflict(f"{instance} of {service} ended meanwhile", hint="look with `atoll ps` and try again") from None
    except PermissionError:
        raise Forbidden(
            f"process {pid} belongs to another user", hint="run this as the user who started the platform"
        ) from None
    return Identity(pid, start, found.boot)


class Killed:
    """kill -9 for every process of each leader's session."""

    undoable = False
    silent = True

    def __init__(self, leaders: Sequence[Identity]) -> None:
        self._leaders = tuple(leaders)

    async def begin(self) -> None:
        """Kill."""
        await asyncio.to_thread(_signal, self._leaders, signal.SIGKILL)

    async def last(self, seconds: float) -> None:
        """It is dead at once, and for as long as the platform needs."""

    async def end(self) -> None:
        """The platform starts it again."""


class Paused:
    """SIGSTOP until `end`."""

    undoable = True
    silent = True

    def __init__(self, leaders: Sequence[Identity], guard: Guard, clock: Clock) -> None:
        self._leaders = tuple(leaders)
        self._guard = guard
        self._clock = clock

    async def begin(self) -> None:
        """Stop them; what they start in the middle of it is stopped by the second look."""
        for _ in range(2):
            self._guard.remember([one for leader in self._leaders for one in _session(leader)])
            await asyncio.to_thread(_signal, self._leaders, signal.SIGSTOP)

    async def last(self, seconds: float) -> None:
        """They stand still."""
        await self._clock.sleep(seconds)

    async def end(self) -> None:
        """Let them go on. Not in a thread: nothing may come between."""
        _signal(self._leaders, signal.SIGCONT)


class Stuttering(Paused):
    """Stands still for STOPPED seconds, runs for RUNS, and so on: an instance that is slow, not dead."""

    silent = False

    async def last(self, seconds: float) -> None:
        """They stutter."""
        until = self._clock.now() + seconds
        while self._clock.now() < until:
            await self._clock.sleep(STOPPED)
            await self.end()
            await self._clock.sleep(RUNS)
            await self.begin()


def _signal(leaders: Sequence[Identity], number: signal.Signals) -> None:
    for leader in leaders:
        for one in _session(leader):
            send(one, number)


def _session(leader: Identity) -> list[Identity]:
    """Every process of an instance; one that leads no session is alone."""
    return members(leader) or [leader]


class Guard:
    """The process that mends what this one cannot mend any more. Use it as a context; outside nothing stays paused."""

    def __init__(self) -> None:
        self._pid = 0
        self._pipe = -1
        self._known: set[Identity] = set()

    def __enter__(self) -> Self:
        inside, self._pipe = os.pipe()
        script = str(Path(__file__).with_name("guard.py"))
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", script],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, inside, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigmask=(),
            )
        finally:
            os.close(inside)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)  # it ends within milliseconds of the end of its stdin

    def remember(self, processes: Sequence[Identity]) -> None:
        """These are about to be paused."""
        new = [one for one in processes if one not in self._known]
        self._known.update(new)
        os.write(self._pipe, "".join(f"{one.pid} {one.start}\n" for one in new).encode())
