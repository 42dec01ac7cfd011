"""Servers on their way out: no traffic, what runs on them finishes, then HAProxy forgets them.

HAProxy deletes a server only when it is in maintenance and has no connection left, pooled idle ones included. Entering
maintenance closes those that are idle at that moment; those in use come back to the pool afterwards and would stay.
Giving the server another address closes the pool again, so each try does that first. A try costs 40 µs; tries begin
milliseconds apart and slow down to half a second, so a server is gone at most that long after its last request.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from atoll.gateway import command
from atoll.gateway.runtime import Runtime, Unanswered
from atoll.kit.clock import Clock, Instant
from atoll.kit.logs import Log

FIRST_TRY = 0.002
SLOWEST_TRY = 0.5
"""Seconds between two tries."""
_GONE = ("No such server", "No such backend", "Can't find")


@dataclass
class Retiring:
    """One server on its way out."""

    since: Instant
    next_try: Instant
    patient: bool
    """Sessions on it are never cut."""
    tries: int = 0
    cut: bool = False
    """Its sessions were ended."""


class Retirement:
    """Everything that is on its way out. `run` is its loop; whoever sees a new HAProxy process calls `forget`."""

    def __init__(self, runtime: Runtime, clock: Clock, log: Log, *, limit: float) -> None:
        self.limit = limit
        """Seconds until the sessions of an impatient one are ended."""
        self.deleted = 0
        """Servers deleted, all told."""
        self.cut = 0
        """Of these, how many had sessions that we ended."""
        self._runtime = runtime
        self._clock = clock
        self._log = log
        self._servers: dict[tuple[str, str], Retiring] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._servers)

    def __contains__(self, server: tuple[str, str]) -> bool:
        return server in self._servers

    def add(self, backend: str, server: str, *, patient: bool = False) -> None:
        """Delete this server, which is in maintenance, as soon as nothing uses it."""
        now = self._clock.now()
        if (backend, server) not in self._servers:
            self._servers[backend, server] = Retiring(since=now, next_try=now, patient=patient)
            self._changed.set()

    def cancel(self, backend: str, server: str) -> bool:
        """It is wanted again; whether it was on its way out. Its address may be a wrong one by now."""
        return self._servers.pop((backend, server), None) is not None

    def forget(self) -> None:
        """A new process runs: it never had them."""
        self._servers.clear()

    async def run(self) -> None:
        """Delete what can be deleted, forever."""
        while True:
            if not self._servers:
                self._changed.clear()
                await self._changed.wait()
            soonest = min(retiring.next_try for retiring in self._servers.values())
            await self._clock.sleep(max(0.001, soonest - self._clock.now()))
            await self.step()

    async def step(self) -> None:
        """Try every server whose time has come."""
        async with self._runtime.writing:
            await self._try()

    async def _try(self) -> None:
        now = self._clock.now()
        due = [(key, retiring) for key, retiring in self._servers.items() if retiring.next_try <= now]
        commands = []
        for (backend, server), retiring in due:
            if not retiring.patient and not retiring.cut and now - retiring.since >= self.limit:
                commands.append(command.shut_sessions(backend, server))
            if retiring.tries:
                # any address will do, as long as it is another one than before
                commands.append(command.readdress(backend, server, "127.0.0.1", 1 + retiring.tries % 2))
            commands.append(command.delete_server(backend, server))
            retiring.tries += 1
            retiring.next_try = Instant(now + min(SLOWEST_TRY, FIRST_TRY * 2 ** min(retiring.tries, 20)))
        try:
            objections = await self._runtime.run(commands)
        except Unanswered as error:
            self._log.debug("removed servers stay for now", cause=error)
            return
        said = dict(zip((sent.line for sent in commands), objections, strict=True))
        for (backend, server), retiring in due:
            if said.get(command.shut_sessions(backend, server).line) == "":
                retiring.cut = True
                self.cut += 1
                self._log.info("ended the sessions of a removed server", backend=backend, server=server)
            objection = said[command.delete_server(backend, server).line]
            if not objection or objection.startswith(_GONE):
                del self._servers[backend, server]
                self.deleted += 1
