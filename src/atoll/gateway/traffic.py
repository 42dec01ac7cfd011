"""What goes over the gateway to an instance: whether it is routed, whether it is idle, what its checks say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from atoll.gateway import emptied, failover, limits
from atoll.gateway.breaker import TABLE
from atoll.gateway.breaker_reports import breaker_reports, changes
from atoll.gateway.config import BREAKERS, GatewayConfig
from atoll.gateway.counts import BreakerRow, ServerStat, parse_breakers, parse_stat
from atoll.gateway.ejection import NONE, Ejections, Look, Pool, ejections, judged, news, unsettled
from atoll.gateway.master import Master
from atoll.gateway.runtime import Unanswered
from atoll.gateway.sight import Sight, sight
from atoll.gateway.standings import Standings, seen
from atoll.kit.clock import Clock
from atoll.model.breaker import BreakerState
from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import BreakerChange, BreakerReport, LimitReport, ServerReport

IDLE_POLL = 0.02
"""Seconds between two looks at the sessions of an instance that drains."""
STIR = 5.0
"""Seconds after a change in which another one is likely: what was started or taken out shows how it does."""
THREAD_BYTES = 200_000
"""Statistics longer than this are parsed beside the loop (500 servers)."""

Answerer = tuple[ServiceName, InstanceId]


class Traffic:
    """Questions about one HAProxy; `config` gives what it runs."""

    def __init__(self, master: Master, config: Callable[[], GatewayConfig], clock: Clock) -> None:
        self.reports: tuple[ServerReport, ...] = ()
        """Of every instance, as of the last `refresh`."""
        self.breakers: tuple[BreakerReport, ...] = ()
        self.limits: tuple[LimitReport, ...] = ()
        """Where requests are counted because their number is limited."""
        self.on_breaker: Callable[[BreakerChange], None] = lambda _: None
        """Called when a breaker is in another state than at the last `refresh`, or was in between."""
        self.pools: dict[ServiceName, Pool] = {}
        """What is remembered of instances whose requests failed."""
        self.on_ejections: Callable[[Ejections], None] = lambda _: None
        """Called with every look: who is to get less of the requests."""
        self.on_outlier: Callable[[ServiceName, InstanceId | None, str], None] = lambda _service, _instance, _what: None
        """Called when an instance is held out, or panic begins or ends."""
        self.standings = Standings(clock)
        """At which of their groups services are."""
        self.empty: emptied.Sections = emptied.NONE
        """Sections of which nobody takes requests."""
        self.on_empty: Callable[[emptied.Sections], None] = lambda _: None
        """Called with every look."""
        self.sightings = 0
        """How often a look saw something else than the one before; see `sight`."""
        self.old_workers: tuple[int, ...] = ()
        self.workers: tuple[int, ...] = ()
        """All of them, the current one included."""
        self._master = master
        self._config = config
        self._clock = clock
        self._ejected = NONE
        self._sight: Sight = ()
        self._stirred = float("-inf")
        """When something changed last."""
        self._waiters: dict[Answerer, asyncio.Future[None]] = {}

    def applied(self) -> None:
        """`config` has changed: whoever waited for it goes on."""
        self._stirred = self._clock.now()
        self.standings.applied(self._config().failovers)
        if self._waiters:
            for answerer in self._routed() & self._waiters.keys():
                waiter = self._waiters.pop(answerer)
                if not waiter.done():
                    waiter.set_result(None)

    def close(self) -> None:
        """Nobody will answer any more; who waits is cancelled."""
        for waiter in self._waiters.values():
            waiter.cancel()
        self._waiters.clear()

    async def routed(self, service: ServiceName, instance: InstanceId) -> None:
        """Wait until HAProxy has this instance and may send it requests."""
        if (service, instance) not in self._routed():
            waiter = self._waiters.get((service, instance))
            if waiter is None:
                waiter = asyncio.get_running_loop().create_future()
                self._waiters[service, instance] = waiter
            # shared: one who gives up must not take the others along
            await asyncio.shield(waiter)

    async def idle(self, service: ServiceName, instance: InstanceId, within: float) -> bool:
        """Wait until this instance gets no new requests and has none left; False after `within` seconds."""
        end = self._clock.now() + within
        while True:
            if (service, instance) not in self._routed() and await self._sessions(service, instance) == 0:
                return True
            if self._clock.now() >= end:
                return False
            await self._clock.sleep(IDLE_POLL)

    async def refresh(self) -> None:
        """Ask HAProxy what its checks say and how many workers it has.

        Raises:
            Unanswered: it does not say; what was known stays.
        """
        text = await self._master.runtime.ask("show stat -1 4 -1")
        stats = await asyncio.to_thread(_parsed, text) if len(text) > THREAD_BYTES else _parsed(text)
        tripped = parse_breakers(await self._master.runtime.ask(f"show table {TABLE}"))
        self._judge(tripped, self._clock.wall())
        tables = [await self._master.runtime.ask(f"show table {name}") for name in (limits.COUNTS, limits.QUEUES)]
        sections = {backend.name: backend.upstream for backend in self._config().backends}
        self.limits = tuple(limits.limit_reports(sections, *tables))
        workers = await self._master.workers()
        self.old_workers = workers.old
        self.workers = workers.old if workers.current is None else (workers.current, *workers.old)
        owners = {
            (backend.name, server.name): (backend.service, server)
            for backend in self._config().backends
            for server in backend.servers
        }
        wall = self._clock.wall()
        found: dict[Answerer, ServerReport] = {}
        looks: dict[Answerer, Look] = {}
        groups: dict[str, failover.Look] = {}
        for stat in stats:
            known = owners.get((stat.backend, stat.server))
            if known is not None:
                service, server = known
                owner = (service, server.instance)
                takes = stat.up and server.effective_weight > 0
                groups[stat.backend] = seen(groups.get(stat.backend), stat, takes=takes)
                found[owner] = _merged(found.get(owner), owner, server.port, stat, wall)
                if server.check is not None and not server.drained and (server.weight or owner in self._ejected.shares):
                    looks[owner] = _looked(looks.get(owner), owner, stat)
        self._eject(looks.values())
        self.empty = emptied.emptied(self.empty, self._config().backends, stats, wall)
        self.on_empty(self.empty)
        kept_from = {each.service for each in self.breakers if each.state is BreakerState.OPEN and not each.caller}
        self.standings.look(self._config().failovers, groups, kept_from)
        self.reports = tuple(self._shared(report, wall) for report in found.values())
        self._sighted(sight(self.reports, self.breakers, self.standings.reports))

    @property
    def unsettled(self) -> bool:
        """Whether what the last `refresh` saw will change shortly."""
        now = self._clock.now()
        return now - self._stirred < STIR or unsettled(self.pools, now)

    def _sighted(self, seen: Sight) -> None:
        if seen != self._sight:
            self._sight = seen
            self._stirred = self._clock.now()
            self.sightings += 1

    def _eject(self, looks: Iterable[Look]) -> None:
        before, now = self.pools, self._clock.now()
        self.pools = judged(before, looks, now)
        for outlier in news(before, self.pools):
            self.on_outlier(*outlier)
        self._ejected = ejections(self.pools, now)
        self.on_ejections(self._ejected)

    def _shared(self, report: ServerReport, wall: float) -> ServerReport:
        pool = self.pools.get(report.service)
        outlier = pool.members.get(report.instance) if pool else None
        if outlier is None or not outlier.row:
            return report
        share, left = (
            self._ejected.shares.get((report.service, report.instance), 100),
            outlier.until - self._clock.now(),
        )
        return msgspec.structs.replace(
            report, share=share, ejections=outlier.row, ejected_until=wall + left if left > 0 and not share else 0.0
        )

    def _judge(self, rows: Iterable[BreakerRow], wall: float) -> None:
        """Take what the table says, and tell what changed."""
        lines = dict(self._config().maps.get(BREAKERS, ()))
        before = {(each.service, each.caller): each for each in self.breakers}
        self.breakers = tuple(breaker_reports(rows, lines, wall))
        for change in changes(before, self.breakers, wall):
            self.on_breaker(change)

    def _routed(self) -> set[Answerer]:
        """Who takes requests, or would if it led."""
        return {
            (backend.service, server.instance)
            for backend in self._config().backends
            for server in backend.servers
            if server.effective_weight > 0 or (server.standby and not server.drained)
        }

    async def _sessions(self, service: ServiceName, instance: InstanceId) -> int | None:
        """Requests on this instance now, old workers' included; None: unknown. Also counts servers being deleted."""
        if self._master.orphans:
            return None  # they cannot be asked
        config = self._config()
        backends = [each.name for each in (*config.backends, *config.idle) if each.service == service]
        total = 0
        try:
            for backend in backends:
                question = f"show stat {backend} 4 -1"
                total += _under_way(await self._master.runtime.ask(question), instance)
                for worker in (await self._master.workers()).old:
                    try:
                        total += _under_way(await self._master.ask_worker(worker, question), instance)
                    except Unanswered:
                        if worker in (await self._master.workers()).old:
                            return None
        except Unanswered:
            return None
        return total


def _under_way(text: str, instance: InstanceId) -> int:
    """Requests on the servers of an instance in an answer to `show stat` of one section."""
    if text.startswith("No such proxy."):
        return 0
    return sum(stat.sessions for stat in parse_stat(text) if stat.server.rpartition(":")[0] == instance)


def _parsed(text: str) -> list[ServerStat]:
    return list(parse_stat(text))


def _looked(before: Look | None, owner: Answerer, stat: ServerStat) -> Look:
    """An instance that stands in several backends is looked at as one."""
    return Look(
        member=owner,
        passes=stat.passes and (before is None or before.passes),
        fails=stat.fails or (before is not None and before.fails),
        ejections=stat.ejections + (before.ejections if before else 0),
        downs=stat.downs + (before.downs if before else 0),
        requests=stat.requests + (before.requests if before else 0),
        failures=stat.failures + (before.failures if before else 0),
    )


def _merged(before: ServerReport | None, owner: Answerer, port: int, stat: ServerStat, wall: float) -> ServerReport:
    """An instance stands in several backends when routes pick versions: up when every one says so, traffic summed."""
    service, instance = owner
    report = ServerReport(
        service=service,
        instance=instance,
        up=stat.up,
        port=port,
        cause=stat.cause,
        since=wall - stat.since,
        sessions=stat.sessions,
        requests=stat.requests,
        failures=stat.failures,
    )
    if before is None:
        return report
    worse = before if not before.up else report
    return ServerReport(
        service=service,
        instance=instance,
        up=before.up and report.up,
        port=port,
        cause=worse.cause,
        since=worse.since,
        sessions=before.sessions + report.sessions,
        requests=before.requests + report.requests,
        failures=before.failures + report.failures,
    )
