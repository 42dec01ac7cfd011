"""The node: the parts of one machine and what flows between them.

Facts flow from the watch to gateway and supervisor; reports flow to the control plane, output and progress to the
console. Who starts and ends what, and in which order, is `platform`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping

import msgspec

from atoll import __version__
from atoll.errors import AtollError
from atoll.gateway.driver import Driver
from atoll.identity.token import ensure_token
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.kit.vitals import vitals
from atoll.kit.watchdog import Watchdog
from atoll.model.keys import FACTS
from atoll.model.names import NodeName, ServiceName
from atoll.model.project import Project
from atoll.model.report import GatewayReport, LoopReport, NodeReport, Phase, ProcessReport
from atoll.model.service import State
from atoll.model.snapshot import Snapshot
from atoll.sdk.client import Client
from atoll.settings import Settings
from atoll.supervisor.output import Kind, follow_logs
from atoll.supervisor.supervisor import Supervisor
from atoll.supervisor.tree import Elsewhere
from atoll.wiring.console import Console
from atoll.wiring.control_plane import PATIENCE, kept_control_plane
from atoll.wiring.instrumentation import Instrumentation
from atoll.wiring.membership import ApiRegistrar, GatewayTraffic
from atoll.wiring.ports import refuse_taken
from atoll.wiring.progress import Progress
from atoll.wiring.telemetry_part import TelemetryPart

log = Log("node")
WISHES_SHARE = 0.1
"""Share of the time that the supervisor's look at the facts may take: with 20,000 instances it takes 5 ms each time."""
REPORT_EVERY = 1.0
REPORT_AFTER_ROUTING = 0.2
"""Seconds between two reports at least of which each only says that the gateway runs newer facts, or what it saw change."""
REPORTS_SHARE = 0.05
"""Share of the time that such reports may take."""
ALIVE = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING})
REPORT_AFTER_CHANGE = 0.05
"""Seconds between two looks whether an instance entered another phase, so that `ps` and `wait` see it soon."""


class Node:
    """The parts of one machine and what flows between them."""

    def __init__(self, settings: Settings, console: Console, clock: Clock, *, telemetry: bool = True) -> None:
        """`telemetry`: whether it was asked for; the settings say whether it can run."""
        self.settings = settings
        self.console = console
        self._clock = clock
        self._began = clock.now()
        self._started = clock.wall()
        self.control_plane = kept_control_plane(settings, clock)
        self.telemetry = TelemetryPart(settings, console, clock, wanted=telemetry)
        self.client = Client(socket=settings.socket, token=ensure_token(settings.token_file), clock=clock)
        self.driver = Driver(settings, environ=os.environ, clock=clock)
        self.supervisor = Supervisor(
            settings,
            clock=clock,
            registrar=ApiRegistrar(self.client),
            traffic=GatewayTraffic(self.driver),
            environ=os.environ,
            sending=Instrumentation(settings, os.environ, clock).sending,
        )
        self.watch = self.client.watch(FACTS, patience=PATIENCE)
        self.watchdog = Watchdog(clock, limit=settings.watchdog.limit, quiet=settings.watchdog.quiet)
        self.facts = Snapshot()
        self._news = asyncio.Event()
        self._measured: tuple[float, tuple[ProcessReport, ...]] = (float("-inf"), ())
        """When our own processes were last looked at, and what was seen."""

    @property
    def age(self) -> float:
        """Seconds since the node began."""
        return self._clock.now() - self._began

    async def begin(self, project: Project, wanted: frozenset[ServiceName]) -> None:
        """Adopt or start the control plane, unless somebody else has a port that is needed. Telemetry begins later.

        Raises:
            PortTaken: somebody has; nothing was started.
        """
        adopted = self.control_plane.adopt()
        otlp = not self.telemetry.adopt() and self.telemetry.enabled
        await asyncio.to_thread(refuse_taken, self.settings, project, wanted, api=not adopted, otlp=otlp)
        await self.control_plane.begin()

    async def follow_facts(self) -> None:
        """Every change of the facts goes to the gateway at once, and to the supervisor."""
        async for batch in self.watch:
            self.facts = batch.apply(self.facts)
            self.driver.offer(self.facts)
            self._news.set()

    async def follow_wishes(self) -> None:
        """The supervisor hears of the newest facts; of what comes while it listens, only the last."""
        while True:
            await self._news.wait()
            self._news.clear()
            began = self._clock.now()
            await self.supervisor.want(dict(self.facts.services), self._elsewhere(self.facts))
            await self._clock.sleep((self._clock.now() - began) / WISHES_SHARE)

    def _elsewhere(self, snapshot: Snapshot) -> Elsewhere:
        ours = NodeName(self.settings.node)
        others = (one for one in snapshot.instances.values() if one.node != ours)
        passing = (one.service for one in snapshot.instances.values() if one.state is State.PASSING)
        return Elsewhere(frozenset(one.id for one in others), frozenset(passing))

    async def report(self) -> None:
        """Tell the control plane how this node is, for ever.

        At once when an instance enters another phase, and soon when the gateway runs newer facts or sees an instance, a
        breaker or a failover in another state: others wait for all of it.
        """
        told: object = None
        due = soon = 0.0
        heard = (0, 0)
        while True:
            seen = [(child.instance, child.phase) for child in self.supervisor.report()]
            now, gateway = self._clock.now(), (self.driver.report().revision, self.driver.sightings)
            if seen != told or now >= due or (gateway != heard and now >= soon):
                await self.tell()
                took = self._clock.now() - now
                told, due, heard = seen, now + took + REPORT_EVERY, gateway
                soon = now + max(REPORT_AFTER_ROUTING, took / REPORTS_SHARE)
            await self._clock.sleep(REPORT_AFTER_CHANGE)

    async def tell(self) -> None:
        """Report once; the control plane may be away."""
        changes = tuple(self.driver.changes)
        report = NodeReport(
            node=NodeName(self.settings.node),
            pid=os.getpid(),
            version=__version__,
            started=self._started,
            children=self.supervisor.report(),
            breakers=self.driver.breakers(),
            changes=changes,
            limits=self.driver.limits(),
            failovers=self.driver.failovers(),
            gateway=caught_up(self.driver.report(), self.facts.revision, self.watch.revision),
            servers=self.driver.servers(),
            loop=self._loop(),
            processes=await self._own_processes(),
            facts_revision=self.watch.revision,
            facts_age=self.watch.age,
            control_plane_restarts=self.control_plane.restarts,
        )
        try:
            await self.client.report(report)
        except (AtollError, OSError) as error:
            log.debug("the control plane took no report", error=error)
            return
        for change in changes:
            if self.driver.changes and self.driver.changes[0] is change:  # else it was forgotten, there are too many
                self.driver.changes.popleft()

    async def _own_processes(self) -> tuple[ProcessReport, ...]:
        at, seen = self._measured
        if self._clock.now() - at >= REPORT_EVERY:
            pids = {"node": (os.getpid(),), "gateway": self.driver.pids}
            if (telemetry := self.telemetry.process.pid) is not None:
                pids["telemetry"] = (telemetry,)
            seen = await asyncio.to_thread(own_processes, pids)
            self._measured = self._clock.now(), seen
        return seen

    def _loop(self) -> LoopReport:
        dog = self.watchdog
        return LoopReport(
            lag=dog.lag,
            lag_most=dog.lag_most,
            blocked=dog.blocked,
            blocked_seconds=dog.blocked_seconds,
            tasks=len(asyncio.all_tasks()),
            warning=dog.warning,
        )

    async def show_output(self) -> None:
        """Every line that the services print, as it comes."""
        async for line in follow_logs(self.settings.logs, clock=self._clock):
            if line.kind is not Kind.NOTE:
                self.console.line(line.service, line.instance, line.text)

    async def show_progress(self, wanted: frozenset[ServiceName]) -> None:
        """Tell the console how far the services are, and once when all are there."""
        progress = Progress(wanted)
        ready = False
        while True:
            progress.see(self.facts, self.supervisor.report(), self.driver.servers(), self.driver.report())
            self.console.services(progress.counts)
            for failure in progress.new_failures():
                self.console.service_failed(*failure)
            if progress.complete and not ready:
                ready = True
                await self.tell()  # who is told "ready" and asks the control plane hears the same
                self.console.ready(self._clock.now() - self._began, self.addresses(), self._curl())
            await self._clock.sleep(0.05 if not ready else 0.5)

    def addresses(self) -> list[tuple[str, str]]:
        """What a person may want to open or call."""
        gateway, api = self.settings.gateway, self.settings.api
        return [
            ("gateway", f"http://{gateway.host}:{gateway.port}"),
            ("mesh", f"http://127.0.0.1:{gateway.mesh_port}"),
            ("api", f"http://{api.host}:{api.port}"),
        ]

    def _curl(self) -> str:
        route = min(self.facts.routes.values(), key=lambda one: (len(one.match.path), one.name), default=None)
        if route is None:
            return ""
        gateway = self.settings.gateway
        return f"curl http://{gateway.host}:{gateway.port}{route.match.path}"

    async def left(self) -> None:
        """Tell the console what still runs, while the end goes on."""
        while True:
            running: dict[str, int] = {}
            for child in self.supervisor.report():
                if child.phase in ALIVE:
                    running[child.service] = running.get(child.service, 0) + 1
            self.console.stopping(running)
            await self._clock.sleep(0.1)


def own_processes(pids: Mapping[str, Collection[int]]) -> tuple[ProcessReport, ...]:
    """What each of our own programs uses; blocking, some hundred microseconds."""
    found = ((name, vitals(members)) for name, members in pids.items())
    return tuple(
        ProcessReport(name=name, memory=used.memory, descriptors=used.descriptors, cpu=used.cpu) for name, used in found
    )


def caught_up(gateway: GatewayReport, known: int, heard: int) -> GatewayReport:
    """`gateway` at the revision up to which it misses nothing.

    When it runs the newest facts (of `known`), it also runs what was `heard` since then: commits that change no fact,
    such as those that prune the history.
    """
    if gateway.revision < known or heard <= gateway.revision:
        return gateway
    return msgspec.structs.replace(gateway, revision=heard)
