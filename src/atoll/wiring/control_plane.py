"""The control plane as this node's child: started, adopted from a node before us, watched, started again.

It runs under the same keeper as every service, so it outlives a node that is killed, and a node that comes back finds
it by pid and start time. Its own output is in `<state>/platform/`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from pathlib import Path

from atoll.errors import AtollError, NotReady
from atoll.kit.backoff import Backoff
from atoll.kit.clock import Clock
from atoll.kit.files import private_folder
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
from atoll.supervisor.record import Note, Places

log = Log("node")
NAME = "control-plane"
GRACE = 10.0
"""Seconds it has to finish its requests after SIGTERM."""
LAST_LINES = 20


class ControlPlane:
    """One control plane, kept running. `restarts` counts unexpected ends."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.restarts = 0
        self.adopted = False
        """It was running before this node was."""
        self._settings = settings
        self._clock = clock
        self._child: Child | None = None
        self._stopping = asyncio.Event()
        self._places = Places(private_folder(settings.run / "platform"), private_folder(settings.state / "platform"))

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._child.pid if self._child is not None else None

    def adopt(self) -> bool:
        """Take over the one that an earlier node left running; False when there is none."""
        found = record.read(self._places.record(InstanceId(NAME)))
        self._child = children.adopt(found, self._places) if found is not None else None
        self.adopted = self._child is not None
        return self.adopted

    async def begin(self) -> None:
        """Start it, unless one was adopted; returns when its process runs (not when it answers).

        Raises:
            ProgramMissing: Python itself cannot be executed any more.
        """
        if self._child is None:
            self._child = await children.start(self._order(), self._places)
        self._child.watch(lambda: None)

    async def keep(self) -> None:
        """Start it again whenever it ends, until `stop`."""
        backoff = Backoff(base=0.2, cap=5.0)
        while not self._stopping.is_set():
            assert self._child is not None, "begin comes first"
            child = self._child
            began = self._clock.now()
            await child.gone.wait()
            if self._stopping.is_set():
                return
            self.restarts += 1
            log.error(
                "the control plane ended and is started again",
                cause=with_last_line(cause_of(await child.ending(), said := self._said()), said),
                log=self.log_file,
            )
            if self._clock.now() - began > 30:
                backoff.reset()
            await self._clock.sleep(backoff.next())
            try:
                self._child = await children.start(self._order(), self._places)
                self._child.watch(lambda: None)
            except (AtollError, OSError) as error:
                log.error("the control plane cannot be started", error=error)

    async def answers(self, timeout: float) -> None:  # noqa: ASYNC109  # the error names what was waited for
        """Wait until its socket takes connections.

        Raises:
            NotReady: it ended, or did not answer in time; the last lines of its output are in the hint.
        """
        until = self._clock.now() + timeout
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(str(self._settings.socket))
            except OSError:
                gone = self._child is None or self._child.gone.is_set()
                if gone or self._clock.now() > until:
                    what = "ended at once" if gone else f"does not answer after {timeout:g} s"
                    raise NotReady(f"the control plane {what}", hint=self._last_words()) from None
                await self._clock.sleep(0.01)
            else:
                writer.close()
                return

    async def stop(self, *, force: bool = False) -> None:
        """End it: SIGTERM and its grace, or at once."""
        self._stopping.set()
        child = self._child
        if child is None or child.gone.is_set():
            return
        if force:
            child.kill()
        else:
            child.stop()
        await child.gone.wait()
        self._places.record(InstanceId(NAME)).unlink(missing_ok=True)

    def let_go(self) -> None:
        """Leave it running for the next node."""
        self._stopping.set()
        if self._child is not None:
            self._child.let_go()

    @property
    def log_file(self) -> Path:
        """Where its output is."""
        return self._places.log(ServiceName(NAME), InstanceId(NAME))

    def _last_words(self) -> str:
        said = self._said()
        return "\n".join(["it said:", *said]) if said else f"look at {self.log_file}"

    def _said(self) -> tuple[str, ...]:
        return tuple(scrub(line) for line in last_lines(self.log_file, LAST_LINES))

    def _order(self) -> Order:
        note = Note(
            service=ServiceName(NAME),
            instance=InstanceId(NAME),
            mark=secrets.token_hex(16),
            port=self._settings.api.port,
            digest="",
            restarts=0,
            started=self._clock.wall(),
        )
        words = (sys.executable, "-m", "atoll.cli.main", "--state", str(self._settings.state), "server")
        command = Command(sys.executable, words, str(self._settings.state))
        return Order(note, command, self._environment(), signal.SIGTERM, GRACE, self._settings.supervisor)

    def _environment(self) -> dict[str, str]:
        """Ours, and where this node's gateway listens, so that nobody can register those addresses."""
        knobs = self._settings.gateway
        told = ("host", "port", "mesh_port", "mesh_ports", "mesh_count")
        return {**os.environ, **{f"ATOLL_GATEWAY_{name}".upper(): str(getattr(knobs, name)) for name in told}}
