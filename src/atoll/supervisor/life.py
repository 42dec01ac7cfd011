"""One instance from its first start to its last end, restarts between: starting, passing, running, draining, ended.

Told from outside only to stop (drain first) and to be killed; everything else comes from the child itself. The calls
that may take long (probe, registry, balancer) are given up the moment the child ends or is to be killed.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atoll.errors import AlreadyRunning, AtollError
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.kit.tasks import Tasks, owned
from atoll.kit.text import scrub
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.model.report import ChildReport, Phase
from atoll.model.service import CheckKind, Restart, Run, Service
from atoll.settings import Settings
from atoll.supervisor import adopt, appfolder, child, output, ports, probe, program, record
from atoll.supervisor.child import Child, Order
from atoll.supervisor.ending import Ending, cause_of, with_last_line
from atoll.supervisor.environment import environment_of
from atoll.supervisor.instrument import Sending, instrument
from atoll.supervisor.membership import Membership
from atoll.supervisor.news import News
from atoll.supervisor.outside import Registrar, Traffic
from atoll.supervisor.ports import Ports
from atoll.supervisor.record import Note, Places
from atoll.supervisor.restart import History, after_end
from atoll.supervisor.tree import Seen, digest_of, fixed_port

ROUTED_LIMIT = 5.0
"""Seconds after which dependants of a passing instance no longer wait for the balancer to know it."""
ROUTED_PAUSE = 0.2
"""Seconds between two questions to a balancer that says no at once."""

log = Log("supervisor")


@dataclass(frozen=True)
class Around:
    """What all lives of a node share."""

    settings: Settings
    places: Places
    clock: Clock
    rng: random.Random
    ports: Ports
    registrar: Registrar
    traffic: Traffic
    inherited: Mapping[str, str]
    services: Callable[[], Mapping[ServiceName, Service]]
    policy: Callable[[ServiceName], Restart]
    changed: Callable[[], None]
    sending: Callable[[], Sending | None] = lambda: None
    """Where telemetry goes; asked in a thread at each start."""


class Life:
    """See the module. Made with `adopted` it goes on with a child that an earlier node started."""

    def __init__(self, service: Service, instance: InstanceId, around: Around, *, adopted: Child | None = None) -> None:
        self.service = service
        self.instance = instance
        self.phase = Phase.STARTING
        self.cause = ""
        self.digest = digest_of(service)
        self.restarts = self._run.restarts
        self.port: int | None = None
        self.child = adopted
        self.history = History()
        self.healthy = self.routed = self.failed = self.completed = False
        self.last_lines: tuple[str, ...] = ()
        self.exit_code: int | None = None
        self.started = 0.0
        self._around = around
        self._news = News(around.clock)
        self._stop_cause: str | None = None
        self._forced = False
        self._placed = adopted is not None
        """The registry may hold a registration of this instance."""
        self._refused = ""
        """Why the last start failed, other than by an exit."""
        self._blocked = 0
        """Starts in a row that met another keeper of this instance."""
        self._member = Membership(
            service.name, instance, around.registrar, around.clock, around.rng, self._registry_changed
        )
        if adopted is not None:
            self.history = History(total=adopted.note.ends)
            self._take(adopted)

    @property
    def _run(self) -> Run:
        return self.service.run if self.service.run is not None else Run(command=())

    def want(self, service: Service) -> None:
        """Take over what needs no new process (check, grace, restart policy); a stale instance keeps its definition."""
        if service.run is not None and digest_of(service) == self.digest and service.run.restarts <= self.restarts:
            self.service = service

    def stop(self, cause: str) -> None:
        """Drain, then end it. Idempotent; an instance that ended for good has nothing to stop."""
        if self._stop_cause is None and self.phase is not Phase.EXITED:
            self._stop_cause = cause
            self._become(Phase.STOPPING, cause)
            self._news.tell()

    def kill(self) -> None:
        """End it at once, with all it started."""
        self._forced = True
        self.stop("killed")
        self._news.tell()

    @property
    def _told_to_stop(self) -> bool:
        return self._stop_cause is not None

    @property
    def stopped(self) -> bool:
        """It was told to stop, and has."""
        return self._told_to_stop and self.phase is Phase.EXITED

    @property
    def at_rest(self) -> bool:
        """It ended for good by itself; nothing is left to stop."""
        return not self._told_to_stop and self.phase is Phase.EXITED

    def seen(self) -> Seen:
        """As the tree sees it."""
        return Seen(
            service=self.service.name,
            instance=self.instance,
            digest=self.digest,
            restarts=self.restarts,
            phase=self.phase,
            healthy=self.healthy,
            routed=self.routed,
            failed=self.failed,
            completed=self.completed,
            cause=self.cause,
        )

    def report(self) -> ChildReport:
        """As people see it; what it uses is filled in by the meter."""
        return ChildReport(
            service=self.service.name,
            instance=self.instance,
            phase=self.phase,
            cause=self.cause,
            pid=self.child.pid if self.child is not None else None,
            port=self.port,
            started=self.started,
            restarts=self.history.total,
            exit_code=self.exit_code,
            last_lines=self.last_lines,
        )

    async def run(self) -> None:
        """Until it was stopped, or ended for good; cancelled, it lets the child run on for the next node."""
        fresh = self.child is None
        try:
            while True:
                begun = self._around.clock.now()
                if self.child is None and not self._told_to_stop:
                    await self._start()
                if self.child is not None:
                    await self._live(self.child, fresh=fresh)
                if self._told_to_stop:
                    break
                if not await self._fell(self._around.clock.now() - begun) and not self._told_to_stop:
                    return
                fresh = True
            await self._gone_for_good()
        finally:
            if self.child is not None:
                self.child.let_go()

    # Starting

    async def _start(self) -> None:
        self._become(Phase.STARTING, self.cause if self.failed else "")
        around, run = self._around, self._run
        try:
            self.port = await self._choose_port(run)
            environment = environment_of(
                self.service, self.instance, self.port, around.services(), around.inherited, around.settings
            )
            environment |= await self._instrumented(environment)
            command = await asyncio.to_thread(program.command_of, run.command, run.working_dir, run.root, environment)
            note = Note(
                service=self.service.name,
                instance=self.instance,
                mark=secrets.token_hex(12),
                port=self.port,
                digest=self.digest,
                restarts=self.restarts,
                ends=self.history.total,
                started=around.clock.wall(),
            )
            number = signal.Signals.__members__.get(run.stop_signal, signal.SIGTERM)
            order = Order(note, command, environment, number, run.stop_grace, around.settings.supervisor)
            self._take(await child.start(order, around.places))
        except AlreadyRunning as error:
            self._refused = error.detail
            await self._already_running()
        except (AtollError, OSError) as error:
            self._refused = scrub(str(error), limit=300)

    async def _instrumented(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """What makes it tell its traces, logs and metrics. Never a reason not to start."""
        try:
            sending = await asyncio.to_thread(self._around.sending)
            hook = await asyncio.to_thread(appfolder.has_node_hook, self._run.root, self._run.working_dir)
        except (AtollError, OSError) as error:
            log.warning("not instrumented", instance=self.instance, cause=str(error))
            return {}
        injected = instrument(self.service, self.instance, environment, sending, node_hook=hook)
        log.debug("instrumented", instance=self.instance, variables=" ".join(injected.variables), notes=injected.notes)
        return injected.variables

    async def _already_running(self) -> None:
        """A keeper that no record led us to: adopt it, or (it leads nowhere) end it and try again."""
        self._blocked += 1
        found = await asyncio.to_thread(adopt.running, self._around.places, self.instance)
        if found is not None:
            self._take(found)
        elif self._blocked > 1:
            await asyncio.to_thread(adopt.end_keeper, self._around.places, self.instance)

    async def _choose_port(self, run: Run) -> int | None:
        if run.port is None:
            return None
        fixed = fixed_port(run)
        if fixed is not None:
            await asyncio.to_thread(ports.require, fixed)
            return fixed
        if self.port is not None and ports.free(self.port, again=True):
            return self.port  # the same place: to its callers a quick restart is a pause, not a new instance
        return self._around.ports.choose()

    def _take(self, running: Child) -> None:
        self.child, self.port, self.started = running, running.note.port, running.note.started
        self.digest, self.restarts = running.note.digest, running.note.restarts
        self._refused, self._blocked = "", 0
        if self.port is not None:
            self._around.ports.keep(self.port)
        running.watch(self._news.tell)

    # Living

    async def _live(self, running: Child, *, fresh: bool) -> None:
        async with owned(f"instance {self.instance}") as tasks:
            if await self._passes(running, fresh=fresh):
                await self._serve(running, tasks, fresh=fresh)
            if self._told_to_stop or not running.gone.is_set():
                await self._end(running)

    async def _passes(self, running: Child, *, fresh: bool) -> bool:
        """Probe until it passes; False when it ended, is to stop, or had its time."""
        check, clock = self.service.check, self._around.clock
        begun, tries = clock.now(), 0
        asks = self.port is not None and check.kind not in {CheckKind.PROCESS, CheckKind.NONE}
        while self._goes_on(running):
            if not asks:
                alive = clock.now() - begun
                if check.kind is CheckKind.NONE or not fresh or alive >= check.interval:
                    return True
                await self._news.within(check.interval - alive)
                continue
            outcome = await self._news.unless(probe.ask(check, self.service.protocol, self.port or 0))
            if outcome is None:
                continue
            if outcome.passed:
                return True
            tries += 1
            self.cause = outcome.cause
            if clock.now() - begun >= check.start_period:
                self._refused = f"did not pass its check within {check.start_period:g} s: {outcome.cause}"
                return False
            await self._news.within(probe.pause(tries, check))
        return False

    async def _serve(self, running: Child, tasks: Tasks, *, fresh: bool) -> None:
        """Register, run, until it ends or is to stop."""
        if self.port is not None:
            self._placed = True
            tasks.start("membership", self._member.keep(self._registration, fresh=fresh))
            while self._goes_on(running) and not self._member.registered:
                self.cause = f"passes; registering {self._member.trouble}".rstrip()
                await self._news.wait()
        if not self._goes_on(running):
            return
        self.failed = False
        self._become(Phase.RUNNING, "")
        if self.port is not None:
            tasks.start("routing", self._until_routed())
        else:
            self.healthy = self.routed = True
            self._around.changed()
        while self._goes_on(running):
            await self._news.wait()
            if self.phase is Phase.RUNNING:
                self.cause = f"runs; registry: {self._member.trouble}" if self._member.trouble else ""

    async def _until_routed(self) -> None:
        traffic, clock = self._around.traffic, self._around.clock
        while not self.routed:
            self.routed = await traffic.routed(self.service.name, self.instance, ROUTED_LIMIT)
            self.healthy = True
            self._around.changed()
            if not self.routed:
                await clock.sleep(ROUTED_PAUSE)

    def _registration(self) -> Registration:
        run, settings = self._run, self._around.settings
        return Registration(
            port=self.port or 0,
            protocol=self.service.protocol,
            version=run.version,
            node=settings.node,
            zone=settings.zone or None,
            ttl=settings.registry.ttl,
        )

    def _goes_on(self, running: Child) -> bool:
        return not running.gone.is_set() and not self._told_to_stop

    # Ending

    async def _end(self, running: Child) -> None:
        """Out of the balancer, in-flight finished, stop signal, grace, SIGKILL. Each step is bounded."""
        grace = self._run.stop_grace
        if self._stop_cause is not None and self._placed and not self._forced and not running.gone.is_set():
            cause = self._stop_cause
            await self._news.unless(self._member.drain(cause, patient=True))
            if not running.gone.is_set() and not self._forced:
                await self._news.unless(self._idle(grace))
        if not self._forced:
            running.stop()
            await self._gone_within(running, grace)
        if not running.gone.is_set():
            running.kill()
            self._forced = True
            await self._gone_within(running, child.KILL_LIMIT)
        while not running.gone.is_set():  # the keeper itself does not move
            await running.sweep()
            await self._gone_within(running, child.KILL_LIMIT)
        self._forced = False

    async def _idle(self, grace: float) -> None:
        await self._around.traffic.idle(self.service.name, self.instance, grace)

    async def _gone_within(self, running: Child, seconds: float) -> None:
        clock, forced = self._around.clock, self._forced
        deadline = clock.now() + seconds
        while not running.gone.is_set() and clock.now() < deadline and self._forced == forced:
            await self._news.within(deadline - clock.now())

    async def _fell(self, ran: float) -> bool:
        """After an end nobody asked for: wait as long as must be; False when it stays ended."""
        around = self._around
        ending = await self._take_leave()
        code = ending.code if ending is not None and not self._refused else None
        verdict = after_end(
            self.history,
            around.policy(self.service.name),
            code,
            now=around.clock.now(),
            ran=ran,
            limits=around.settings.supervisor,
            rng=around.rng,
        )
        cause = self._refused or (cause_of(ending, self.last_lines) if ending is not None else "not started")
        self._refused = ""
        self.history, self.healthy, self.routed = verdict.history, False, False
        self.completed = code == 0 and verdict.phase is Phase.EXITED
        self.failed = not self.completed
        if self.failed:
            log.warning("instance ended", instance=self.instance, cause=cause, phase=verdict.phase.value)
        deadline = around.clock.now() + (verdict.delay or 0.0)
        self._become(verdict.phase, with_last_line(cause, self.last_lines) if self.failed else cause)
        if self._placed and verdict.phase is Phase.BACKOFF:
            await self._news.unless(self._member.drain(cause))
        elif self._placed:
            await self._member.leave()
            self._placed = False
        if verdict.delay is None:
            await asyncio.to_thread(record.clear, self._around.places, self.instance)
            return False
        while not self._told_to_stop and (left := deadline - around.clock.now()) > 0:
            await self._news.within(left)
        return True

    async def _take_leave(self) -> Ending | None:
        """Forget the child that is gone; how it ended, None when there was none."""
        self._member.registered = False
        gone, self.child = self.child, None
        if gone is None:
            self.exit_code, self.last_lines = None, ()
            return None
        ending = await gone.ending()
        self.exit_code = ending.code
        path = self._around.places.log(self.service.name, self.instance)
        self.last_lines = await asyncio.to_thread(output.last_lines, path)
        return ending

    async def _gone_for_good(self) -> None:
        if self.child is not None:
            await self._take_leave()
        if self._placed:
            await self._member.leave()
        await asyncio.to_thread(record.clear, self._around.places, self.instance)
        self._become(Phase.EXITED, self._stop_cause or "")

    def _become(self, phase: Phase, cause: str) -> None:
        self.phase, self.cause = phase, cause
        if phase is not Phase.RUNNING:
            self.healthy = self.routed = False
        self._around.changed()

    def _registry_changed(self) -> None:
        self._news.tell()
