"""Looks at HAProxy while a drill runs: every few milliseconds, only at the sections of one service.

Owns nothing: asks the runtime socket, as the node does. A look that is not answered (HAProxy is being replaced) is
left out; the next one comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from atoll.drill.history import Look, Server
from atoll.gateway.counts import ServerCounts, parse_counts
from atoll.gateway.runtime import Runtime, Unanswered, answers, exchange
from atoll.kit.clock import Clock, Instant

EVERY = 0.01
"""Seconds between two looks."""
SECTION_LIMIT = 16
"""Sections of one service that are looked at one by one; more are looked at with all the others."""


class Looks:
    """Looks at one service. `endpoints`: its instances as (id, port), by which its sections are found."""

    def __init__(self, runtime: Runtime, clock: Clock, began: Instant) -> None:
        self.seen: list[Look] = []
        self._runtime = runtime
        self._clock = clock
        self._began = began
        self._sections: tuple[str, ...] = ()

    async def find(self, endpoints: Collection[tuple[str, int]]) -> tuple[str, ...]:
        """Find the service's sections; none means that HAProxy has none of these instances.

        Raises:
            Unanswered: HAProxy does not answer.
        """
        counts = parse_counts(await self._runtime.ask("show stat -1 4 -1"))
        self._sections = sections_of(counts, endpoints)
        return self._sections

    async def look(self) -> Look | None:
        """Look once; None when HAProxy does not answer."""
        try:
            text = await self._ask()
            found = [count for part in text for count in parse_counts(part)]
        except Unanswered:
            return None
        look = look_of(self._clock.now() - self._began, found, self._sections)
        self.seen.append(look)
        return look

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await self._clock.sleep(EVERY)

    async def _ask(self) -> Sequence[str]:
        # 2: sections (they keep the retries of servers that are gone), 4: servers
        if len(self._sections) > SECTION_LIMIT:
            return [await self._runtime.ask("show stat -1 6 -1")]
        questions = [f"show stat {section} 6 -1" for section in self._sections]
        return answers(await exchange(self._runtime.path, "; ".join(questions) + "\n"), len(questions))


def sections_of(counts: Iterable[ServerCounts], endpoints: Collection[tuple[str, int]]) -> tuple[str, ...]:
    """The sections that have a server of one of these instances."""
    wanted = set(endpoints)
    return tuple(sorted({one.backend for one in counts if one.server and (_instance(one.server), one.port) in wanted}))


def look_of(at: float, counts: Iterable[ServerCounts], sections: Collection[str]) -> Look:
    """One look, out of HAProxy's counts of servers and sections. A server in several sections is shown once for each."""
    servers: list[Server] = []
    retried = 0
    for one in counts:
        if one.backend not in sections:
            continue
        if not one.server:
            retried += one.retried
            continue
        name = f"{one.backend}/{one.server}"
        tries = one.requests + one.failed + one.retried
        servers.append(Server(name, _instance(one.server), one.up, one.weight, tries, one.requests))
    return Look(at, tuple(servers), retried)


def _instance(server: str) -> str:
    return server.rpartition(":")[0]
