"""A process of the platform as this node's child: started, adopted from a node before us, watched, started again.

Control plane and telemetry run so, under the same keeper as every service: they outlive a node that is killed, and a
node that comes back finds them by pid and start time. Their own output is in `<state>/platform/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from atoll.errors import AtollError, NotReady
from atoll.kit.backoff import Backoff
from atoll.kit.clock import Clock
from atoll.kit.files import private_folder
from atoll.kit.garbage import page_by_page
from atoll.kit.logs import Log
from atoll.kit.text import scrub
from atoll.model.names import InstanceId, ServiceName
from atoll.settings import Settings
from atoll.supervisor import child as children
from atoll.supervisor import record
from atoll.supervisor.child import Child, Order
from atoll.supervisor.ending import cause_of, with_last_line
from atoll.supervisor.output import last_lines
from atoll.supervisor.program import Command
from atoll.supervisor.record import Note, Places, Record

log = Log("node")
GRACE = 10.0
"""Seconds it has to finish its requests after SIGTERM."""
LAST_LINES = 20
HEALTHY = 30.0
"""Seconds after which an end is a new episode, and the next start does not wait long."""


@dataclass(frozen=True)
class Part:
    """What is run: `atoll --state … COMMAND`."""

    name: str
    """Of its record and its log."""
    called: str
    """In messages: `the control plane`."""
    command: str
    socket: Path
    """It is there when this takes connections."""
    port: int | None = None
    """Noted in its record: a node that wants another one does not adopt it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside ours."""
    patience: float = 5.0
    """Seconds before it is started again, at most, however often it ended before."""
    own_allocator: bool = False
    """It manages its memory by itself; what `kit.garbage` says of Python's would not help it."""


class KeptProcess:
    """One process, kept running. `restarts` counts unexpected ends."""

    def __init__(self, part: Part, settings: Settings, clock: Clock) -> None:
        self.part = part
        self.restarts = 0
        self.adopted = False
        """It was running before this node was."""
        self._settings = settings
        self._clock = clock
        self._child: Child | None = None
        self._stopping = asyncio.Event()
        self._starting = asyncio.Lock()
        """Held while a process is being started, so that `stop` ends that one too."""
        self._places = places(settings)

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._child.pid if self._child is not None else None

    @property
    def noted_port(self) -> int | None:
        """The port that the running process was started with."""
        return self._child.note.port if self._child is not None else None

    def adopt(self) -> bool:
        """Take over the one that an earlier node left running; False when there is none."""
        found = record.read(self._places.record(InstanceId(self.part.name)))
        self._child = children.adopt(found, self._places) if found is not None else None
        self.adopted = self._child is not None
        return self.adopted

    async def begin(self) -> None:
        """Start it, unless one was adopted; returns when its process runs (not when it answers).

        Raises:
            ProgramMissing: Python itself cannot be executed any more.
        """
        async with self._starting:
            if self._child is None and not self._stopping.is_set():
                self._child = await children.start(self._order(), self._places)
            if self._child is not None:
                self._child.watch(lambda: None)

    async def keep(self) -> None:
        """Start it again whenever it ends, until `stop`."""
        backoff = Backoff(base=0.2, cap=self.part.patience)
        while not self._stopping.is_set():
            child = self._child
            if child is None:
                return  # it was stopped before it began
            began = self._clock.now()
            await child.gone.wait()
            if self._stopping.is_set():
                return
            self.restarts += 1
            event = f"{self.part.called} ended and is started again"
            log.error(
                event,
                cause=with_last_line(cause_of(await child.ending(), said := self._said()), said),
                log=self.log_file,
            )
            if self._clock.now() - began > HEALTHY:
                backoff.reset()
            await self._clock.sleep(backoff.next())
            async with self._starting:
                if self._stopping.is_set():
                    return
                try:
                    self._child = await children.start(self._order(), self._places)
                    self._child.watch(lambda: None)
                except (AtollError, OSError) as error:
                    event = f"{self.part.called} cannot be started"
                    log.error(event, error=error)

    async def answers(self, timeout: float) -> None:  # noqa: ASYNC109  # the error names what was waited for
        """Wait until its socket takes connections.

        Raises:
            NotReady: it ended, or did not answer in time; the last lines of its output are in the hint.
        """
        until = self._clock.now() + timeout
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(str(self.part.socket))
            except OSError:
                gone = self._child is None or self._child.gone.is_set()
                if gone or self._clock.now() > until:
                    what = "ended at once" if gone else f"does not answer after {timeout:g} s"
                    raise NotReady(f"{self.part.called} {what}", hint=self._last_words()) from None
                await self._clock.sleep(0.01)
            else:
                writer.close()
                return

    async def stop(self, *, force: bool = False) -> None:
        """End it: SIGTERM, and SIGKILL after its grace or at once."""
        self._stopping.set()
        async with self._starting:
            await self._end(force=force)
        self._places.record(InstanceId(self.part.name)).unlink(missing_ok=True)

    async def replace(self) -> None:
        """End the adopted one, so that `begin` starts another."""
        if self._child is not None:
            self._child.watch(lambda: None)
            await self._end(force=False)
        self._child, self.adopted = None, False

    def let_go(self) -> None:
        """Leave it running for the next node."""
        self._stopping.set()
        if self._child is not None:
            self._child.let_go()

    @property
    def log_file(self) -> Path:
        """Where its output is."""
        return self._places.log(ServiceName(self.part.name), InstanceId(self.part.name))

    async def _end(self, *, force: bool) -> None:
        child = self._child
        if child is None or child.gone.is_set():
            return
        if not force:
            child.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await child.gone.wait()
                return
            event = f"{self.part.called} does not end; it is killed"
            log.warning(event, after=GRACE)
        child.kill()
        await child.gone.wait()

    def _last_words(self) -> str:
        said = self._said()
        return "\n".join(["it said:", *said]) if said else f"look at {self.log_file}"

    def _said(self) -> tuple[str, ...]:
        return tuple(scrub(line) for line in last_lines(self.log_file, LAST_LINES))

    def _order(self) -> Order:
        note = Note(
            service=ServiceName(self.part.name),
            instance=InstanceId(self.part.name),
            mark=secrets.token_hex(16),
            port=self.part.port,
            digest="",
            restarts=0,
            started=self._clock.wall(),
        )
        words = (sys.executable, "-m", "atoll.cli.main", "--state", str(self._settings.state), self.part.command)
        command = Command(sys.executable, words, str(self._settings.state))
        environment = {**os.environ, **self.part.environment}
        if not self.part.own_allocator:
            environment = page_by_page(environment)
        return Order(note, command, environment, signal.SIGTERM, GRACE, self._settings.supervisor)


def places(settings: Settings) -> Places:
    """Where records and logs of the platform's own processes are."""
    return Places(private_folder(settings.run / "platform"), private_folder(settings.state / "platform"))


def running(settings: Settings, name: str) -> Record | None:
    """The record of the one that an earlier node left, if it can be proved to run. Reads /proc."""
    found = record.read(places(settings).record(InstanceId(name)))
    return found if found is not None and record.proved(found) else None
