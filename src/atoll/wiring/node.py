"""The node: everything `atoll up` runs on this machine, in one block that leaves nothing half done.

Order of life: gateway and control plane begin side by side (the gateway from its last good files, so traffic flows
before any fact is known); the project is applied as a plan; facts flow from the watch to gateway and supervisor; the
node reports. At a graceful end the children go first, dependants before dependencies, then the gateway, then the
control plane. A node that is killed leaves all of them running, and the next one adopts them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import msgspec

from atoll import __version__
from atoll.errors import AtollError, PortTaken
from atoll.gateway.driver import STOP_GRACE, Driver
from atoll.identity.token import ensure_token
from atoll.kit.clock import Clock, SystemClock
from atoll.kit.listeners import listeners
from atoll.kit.logs import Log
from atoll.kit.tasks import Tasks, owned
from atoll.kit.vitals import vitals
from atoll.kit.watchdog import Watchdog
from atoll.model.keys import FACTS
from atoll.model.names import NodeName, ServiceName
from atoll.model.project import Project
from atoll.model.report import GatewayReport, LoopReport, NodeReport, Phase, ProcessReport
from atoll.model.service import State
from atoll.model.snapshot import Snapshot
from atoll.project.load import Loaded
from atoll.sdk.client import Client
from atoll.settings import Settings
from atoll.supervisor.output import Kind, follow_logs
from atoll.supervisor.supervisor import Supervisor
from atoll.supervisor.tree import Elsewhere
from atoll.wiring.console import Console, Stop
from atoll.wiring.control_plane import ControlPlane
from atoll.wiring.membership import ApiRegistrar, GatewayTraffic
from atoll.wiring.mesh import choosing, moved, settled
from atoll.wiring.ports import refuse_taken
from atoll.wiring.progress import Progress

log = Log("node")
ANSWERS_WITHIN = 20.0
"""Seconds the control plane has for its first answer; it takes about half a second."""
WISHES_SHARE = 0.1
"""Share of the time that the supervisor's look at the facts may take: with 20,000 instances it takes 5 ms each time."""
REPORT_EVERY = 1.0
ALIVE = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING})
REPORT_AFTER_CHANGE = 0.05
"""Seconds between two looks whether an instance entered another phase, so that `ps` and `wait` see it soon."""


class Node:
    """The parts of one machine and what flows between them."""

    def __init__(self, settings: Settings, console: Console, clock: Clock) -> None:
        self.settings = settings
        self.console = console
        self._clock = clock
        self._began = clock.now()
        self._started = clock.wall()
        self.control_plane = ControlPlane(settings, clock)
        self.client = Client(socket=settings.socket, token=ensure_token(settings.token_file), clock=clock)
        self.driver = Driver(settings, environ=os.environ, clock=clock)
        self.supervisor = Supervisor(
            settings,
            clock=clock,
            registrar=ApiRegistrar(self.client),
            traffic=GatewayTraffic(self.driver),
            environ=os.environ,
        )
        self.watch = self.client.watch(FACTS)
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
        """Adopt or start the control plane, unless somebody else has a port that is needed.

        Raises:
            PortTaken: somebody has; nothing was started.
        """
        adopted = self.control_plane.adopt()
        await asyncio.to_thread(refuse_taken, self.settings, project, wanted, api=not adopted)
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
        """Tell the control plane how this node is, for ever, and at once when an instance enters another phase."""
        told: object = None
        due = 0.0
        while True:
            seen = [(child.instance, child.phase) for child in self.supervisor.report()]
            if seen != told or self._clock.now() >= due:
                await self.tell()
                told, due = seen, self._clock.now() + REPORT_EVERY
            await self._clock.sleep(REPORT_AFTER_CHANGE)

    async def tell(self) -> None:
        """Report once; the control plane may be away."""
        report = NodeReport(
            node=NodeName(self.settings.node),
            pid=os.getpid(),
            version=__version__,
            started=self._started,
            children=self.supervisor.report(),
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

    async def _own_processes(self) -> tuple[ProcessReport, ...]:
        at, seen = self._measured
        if self._clock.now() - at >= REPORT_EVERY:
            pids = {"node": (os.getpid(),), "gateway": self.driver.pids}
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
            progress.see(self.facts, self.supervisor.report(), self.driver.servers())
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


async def run_platform(
    loaded: Loaded, settings: Settings, console: Console, *, services: Collection[str] = (), stop: Stop
) -> None:
    """Run the node until `stop` is asked for and everything has ended. `services`: only these and what they need.

    Raises:
        AtollError: it cannot start; what it had started is ended again.
    """
    clock = SystemClock()
    wanted = selected(loaded.project, services)
    for last in (False, False, True):
        async with choosing(clock) as chosen:
            node = Node(await asyncio.to_thread(_settled, settings, loaded), console, clock)
            try:
                await _run(node, chosen, loaded.project, wanted, stop)
            except PortTaken as taken:  # between our look and HAProxy's bind somebody came who takes no turns
                if last or not moved(taken, node.settings, os.environ):
                    raise
                log.warning("another block of mesh ports is chosen", cause=taken.detail)
            else:
                return


async def _run(
    node: Node, chosen: Callable[[], None], project: Project, wanted: frozenset[ServiceName], stop: Stop
) -> None:
    try:
        async with owned("node") as tasks, node.watchdog.watching():
            await node.begin(project, wanted)
            node.console.part_begins("gateway")
            async with node.driver.running():
                chosen()
                await _live(node, tasks, project, wanted, stop)
            await node.control_plane.stop(force=stop.forced.is_set())
    except* AtollError as group:
        await _give_up(node, group)
    finally:
        await node.client.close()


def caught_up(gateway: GatewayReport, known: int, heard: int) -> GatewayReport:
    """`gateway` at the revision up to which it misses nothing.

    When it runs the newest facts (of `known`), it also runs what was `heard` since then: commits that change no fact,
    such as those that prune the history.
    """
    if gateway.revision < known or heard <= gateway.revision:
        return gateway
    return msgspec.structs.replace(gateway, revision=heard)


def own_processes(pids: Mapping[str, Collection[int]]) -> tuple[ProcessReport, ...]:
    """What each of our own programs uses; blocking, some hundred microseconds."""
    found = ((name, vitals(members)) for name, members in pids.items())
    return tuple(
        ProcessReport(name=name, memory=used.memory, descriptors=used.descriptors, cpu=used.cpu) for name, used in found
    )


async def _live(node: Node, tasks: Tasks, project: Project, wanted: frozenset[ServiceName], stop: Stop) -> None:
    """From a gateway that runs to one that has ended."""
    node.console.part_ready("gateway", node.age, node.addresses()[0][1])
    node.console.part_begins("control plane")
    await node.control_plane.answers(ANSWERS_WITHIN)
    tasks.start("control plane", node.control_plane.keep())
    node.console.part_ready("control plane", node.age, node.addresses()[2][1])
    await _apply(node.client, project, wanted)
    await _serve(node, tasks, wanted, stop)
    await node.driver.stop(0 if stop.forced.is_set() else STOP_GRACE)


async def _serve(node: Node, tasks: Tasks, wanted: frozenset[ServiceName], stop: Stop) -> None:
    """From the first fact to the last child."""
    supervising = tasks.start("supervisor", node.supervisor.run())
    following = tasks.start("facts", node.follow_facts())
    reporting = tasks.start("report", node.report())
    tasks.start("wishes", node.follow_wishes())
    tasks.start("output", node.show_output())
    progress = tasks.start("progress", node.show_progress(wanted))
    await stop.asked.wait()
    progress.cancel()
    leaving = tasks.start("leaving", node.left())
    ending = tasks.start("shutdown", node.supervisor.shutdown())
    forcing = tasks.start("force", _force(node.supervisor, stop))
    await ending
    await supervising
    forcing.cancel()
    leaving.cancel()
    for task in (following, reporting):
        task.cancel()
    node.console.stopping({})


async def _force(supervisor: Supervisor, stop: Stop) -> None:
    await stop.forced.wait()
    await supervisor.shutdown(force=True)


async def _apply(client: Client, project: Project, wanted: frozenset[ServiceName]) -> None:
    """Make the project's facts true; services that were asked for are wanted to run, the others are not."""
    await client.apply(project)
    for view in (await client.services()).services:
        service = view.service
        if service.run is None or service.origin != project.name:
            continue
        if service.name in wanted and service.run.stopped:
            await client.start(service.name)
        elif service.name not in wanted and not service.run.stopped:
            await client.stop(service.name)


async def _give_up(node: Node, group: ExceptionGroup[AtollError]) -> None:
    """The platform cannot run: end what this node started, leave what it found running, and say the first reason."""
    if not node.control_plane.adopted:
        await node.control_plane.stop()
    raise first(group) from group


def first(group: ExceptionGroup[AtollError]) -> AtollError:
    """The first error of a (nested) group: the one that a person should read."""
    error = group.exceptions[0]
    return first(error) if isinstance(error, ExceptionGroup) else error


def selected(project: Project, services: Collection[str]) -> frozenset[ServiceName]:
    """The services to run: all, or those named and what they depend on."""
    needs = {one.name: tuple(one.run.depends_on) if one.run else () for one in project.services}
    waiting = [ServiceName(name) for name in services] or list(needs)
    found: set[ServiceName] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(needs.get(name, ()))
    return frozenset(found)


def _settled(settings: Settings, loaded: Loaded) -> Settings:
    if loaded.listener is not None and "ATOLL_GATEWAY_PORT" not in os.environ:
        gateway = replace(settings.gateway, host=loaded.listener.host, port=loaded.listener.port)
        settings = replace(settings, gateway=gateway)
    return settled(settings, listeners(), os.environ)
