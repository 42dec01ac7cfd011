"""The running thing: makes this node's children what is wanted, and keeps them so.

`want` may be called at any time, the latest wins. Every change, wanted or suffered, leads to one new decision of `tree`.
Cancelled, it lets its children run on; `shutdown` ends them. It never needs the control plane to keep them running.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.kit.tasks import Tasks, owned
from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import ChildReport, Phase
from atoll.model.service import Restart, Run, Service
from atoll.settings import Settings
from atoll.supervisor import adopt, tree
from atoll.supervisor.child import Child
from atoll.supervisor.instrument import Sending
from atoll.supervisor.life import Around, Life
from atoll.supervisor.meter import Meter
from atoll.supervisor.news import News
from atoll.supervisor.outside import Registrar, Traffic
from atoll.supervisor.ports import Ports
from atoll.supervisor.record import Places
from atoll.supervisor.tree import Decision, Elsewhere

log = Log("supervisor")


class Supervisor:
    """The children of one node.

    `environ` is what they inherit; `rng` spreads restarts, renewals and ports; `sending` tells where their telemetry goes.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        registrar: Registrar,
        traffic: Traffic,
        environ: Mapping[str, str],
        rng: random.Random | None = None,
        sending: Callable[[], Sending | None] = lambda: None,
    ) -> None:
        rng = rng if rng is not None else random.Random()
        gateway = settings.gateway
        mesh = range(gateway.mesh_ports, gateway.mesh_ports + gateway.mesh_count)
        self._node = NodeName(settings.node)
        self._clock = clock
        self._places = Places.of(settings)
        self._around = Around(
            settings=settings,
            places=self._places,
            clock=clock,
            rng=rng,
            ports=Ports(clock, rng, reserved={settings.api.port, gateway.port, gateway.mesh_port, *mesh}),
            registrar=registrar,
            traffic=traffic,
            inherited=dict(environ),
            services=lambda: self._wanted,
            policy=self._policy,
            changed=self._look,
            sending=sending,
        )
        self._meter = Meter(self._places, clock)
        self._news = News(clock)
        self._known = False
        self._wanted: Mapping[ServiceName, Service] = {}
        self._elsewhere = Elsewhere()
        self._lives: dict[InstanceId, Life] = {}
        self._decision = Decision()
        self._ending = False
        self._running = False
        self._stopped = asyncio.Event()

    async def want(self, services: Mapping[ServiceName, Service], elsewhere: Elsewhere | None = None) -> None:
        """Make it so from now on: all services of the platform; only those with `run` and for this node are run."""
        self._wanted = dict(services)
        if elsewhere is not None:
            self._elsewhere = elsewhere
        self._known = True
        for life in self._lives.values():
            if life.service.name in services:
                life.want(services[life.service.name])
        self._look()

    async def run(self) -> None:
        """Supervise until `shutdown` is done. Waits for the first `want`, then adopts what an earlier node left."""
        self._running = True
        try:
            while not self._known and not self._ending:
                await self._news.wait()
            async with owned("supervisor") as tasks:
                tasks.start("meter", self._meter.run(lambda: {one: life.child for one, life in self._lives.items()}))
                for child in await asyncio.to_thread(adopt.survivors, self._places):
                    self._begin(self._definition(child), child.note.instance, tasks, child)
                while True:
                    self._step(tasks)
                    if self._ending and not self._lives:
                        break
                    await self._news.wait()
        finally:
            self._running = False
            self._stopped.set()

    async def shutdown(self, *, force: bool = False) -> None:
        """Stop every child, dependants first, and return when all are gone; a second call forces (SIGKILL at once)."""
        if force or self._ending:
            for life in self._lives.values():
                life.kill()
        self._ending = True
        self._look()
        if self._running:
            await self._stopped.wait()

    def report(self) -> tuple[ChildReport, ...]:
        """Every instance that runs, waits or should be known; what they use is at most some seconds old."""
        reports = [self._meter.filled(life.report()) for life in self._lives.values()]
        for instance, (service, cause) in self._decision.waiting.items():
            reports.append(ChildReport(service=service, instance=instance, phase=Phase.WAITING, cause=cause))
        return tuple(sorted(reports, key=lambda one: (one.service, tree.number(one.instance), one.instance)))

    @property
    def rolling(self) -> Mapping[ServiceName, str]:
        """Services whose instances are being replaced one by one: how far that is, or why it is halted."""
        return self._decision.rolling

    def _look(self) -> None:
        self._news.tell()

    def _policy(self, service: ServiceName) -> Restart:
        return tree.restart_policy(service, self._wanted) if service in self._wanted else Restart.NO

    def _definition(self, child: Child) -> Service:
        """The wanted service of an adopted child, or one that only serves to end it."""
        name = child.note.service
        wanted = self._wanted.get(name)
        return wanted if wanted is not None and wanted.run is not None else Service(name=name, run=Run(command=()))

    def _begin(self, service: Service, instance: InstanceId, tasks: Tasks, adopted: Child | None = None) -> None:
        life = Life(service, instance, self._around, adopted=adopted)
        self._lives[instance] = life
        tasks.start(f"life {instance}", self._lead(life))

    async def _lead(self, life: Life) -> None:
        await life.run()
        if life.stopped:
            self._lives.pop(life.instance, None)
        self._look()

    def _step(self, tasks: Tasks) -> None:
        """Decide and do."""
        seen = [life.seen() for life in self._lives.values()]
        if self._ending:
            self._decision = tree.decide_end(self._wanted, seen)
        else:
            self._decision = tree.decide(self._wanted, seen, self._elsewhere, self._node)
        for stop in self._decision.stops:
            life = self._lives[stop.instance]
            log.info("stopping", instance=stop.instance, cause=stop.cause)
            if life.at_rest:
                del self._lives[stop.instance]
                self._look()
            else:
                life.stop(stop.cause)
        for start in self._decision.starts:
            log.info("starting", instance=start.instance)
            self._begin(self._wanted[start.service], start.instance, tasks)
