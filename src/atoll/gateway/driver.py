"""The gateway of this node: one HAProxy, kept running, kept equal to the snapshot that was offered last.

    driver = Driver(settings, environ=os.environ, clock=SystemClock())
    async with driver.running():        # adopted or started; raises PortTaken, ProgramMissing, GatewayRefused
        driver.offer(snapshot)          # any number of times, from the loop's thread
        await driver.routed(service, instance)
    # left: HAProxy goes on and the next node adopts it; `await driver.stop()` inside the block ends it instead

A HAProxy that ends is back from its last files in a fraction of a second, whether or not a control plane is there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from atoll.errors import AtollError, GatewayRefused
from atoll.gateway.binary import Binary, dotted, find_binary
from atoll.gateway.config import FAILOVERS, Files, GatewayConfig, map_path
from atoll.gateway.failover import recalled
from atoll.gateway.intent import topped_up
from atoll.gateway.lastgood import MAIN, ConfigFolder
from atoll.gateway.master import ORPHAN_GRACE, Master
from atoll.gateway.plan import Reload, make_plan
from atoll.gateway.reconcile import Health, Reconciler
from atoll.gateway.render import RenderMemo, render
from atoll.gateway.request_log import request_log_of
from atoll.gateway.rhythm import USUAL, Rhythm
from atoll.gateway.runtime import Unanswered
from atoll.gateway.traffic import Traffic
from atoll.gateway.writer import ConfigWriter
from atoll.kit.backoff import Backoff
from atoll.kit.clock import Clock
from atoll.kit.files import private_folder
from atoll.kit.logs import Log
from atoll.kit.tasks import Tasks, owned
from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import (
    BreakerChange,
    BreakerReport,
    FailoverReport,
    GatewayReport,
    LimitReport,
    ServerReport,
)
from atoll.model.snapshot import Snapshot
from atoll.settings import Settings

NOT_STARTED = "HAProxy cannot be started"
CHANGES_LIMIT = 1000
"""Transitions of breakers that wait for a control plane; then the oldest are forgotten (they stay in the log)."""
LONGEST_PAUSE = 0.05
"""Seconds changes are gathered at most, when a round took long."""
STOP_GRACE = 2.0
"""Seconds requests in flight get when the gateway is stopped on purpose; the services have stopped before."""


class Driver:
    """Drives one HAProxy. Everything public is called from the event loop's thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        clock: Clock,
        binary: Binary | None = None,
        rhythm: Rhythm = USUAL,
    ) -> None:
        self.settings = settings
        self.files = Files(private_folder(settings.run) / "haproxy")
        self.folder = ConfigFolder(settings.state / "gateway")
        self.binary = binary
        self.changes: deque[BreakerChange] = deque(maxlen=CHANGES_LIMIT)
        """Of breakers, that no control plane has taken yet; whoever told one of them takes them out."""
        self._environ = environ
        self._clock = clock
        self._rhythm = rhythm
        self._log = Log("gateway")
        self._rendered = RenderMemo()
        self._acting = asyncio.Lock()
        """Held by whoever changes which HAProxy runs or what it runs."""
        self._writer = ConfigWriter(self.folder, self._render, clock, self._log)
        self._master: Master | None = None
        self._reconciler: Reconciler | None = None
        self._first: Snapshot | None = None
        self._traffic: Traffic | None = None
        self._restarts = 0
        self._stopped = False

    # ------------------------------------------------------------------------------------------------- life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """HAProxy runs inside this block and is driven; leaving it leaves HAProxy as it is.

        Raises:
            ProgramMissing: there is no usable HAProxy.
            PortTaken: somebody else listens where we want to; named with pid and program.
            GatewayRefused: HAProxy starts from none of the configurations we have.
        """
        if self.binary is None:
            self.binary = await asyncio.to_thread(find_binary, self.settings.gateway.binary)
        binary = self.binary
        self._log.info("gateway", runs=binary.describe())
        master = self._master = Master(binary, self.folder, self.files, self._environ, self._clock, self._log)
        master.runtime.within = self._rhythm.answer
        master.on_started = self._writer.started
        reconciler = Reconciler(
            self.settings.gateway, master, self._writer, self._clock, self._log, rhythm=self._rhythm
        )
        self._reconciler = reconciler
        traffic = self._traffic = Traffic(master, lambda: reconciler.running, self._clock)
        traffic.on_breaker = self._told
        traffic.on_ejections = reconciler.eject
        traffic.on_empty = reconciler.tell_empty
        traffic.standings.on_standings = reconciler.fail_over
        traffic.standings.on_move = self._failed_over
        traffic.on_outlier = self._outlier
        reconciler.on_applied = traffic.applied
        if self._first is not None:
            reconciler.offer(self._first)
        try:
            grace = await self._begin(master, reconciler, traffic)
            async with owned("gateway") as tasks:
                tasks.start("orphans", master.end_orphans(grace))
                tasks.start("haproxy", self._keep(master, reconciler))
                tasks.start("reconcile", self._reconcile(master, reconciler, tasks))
                tasks.start("retire", reconciler.retirement.run())
                tasks.start("files", self._writer.run())
                tasks.start("stats", self._watch(master, reconciler, traffic))
                yield
            if not self._stopped:
                await self._writer.flush()
        finally:
            master.leave()
            traffic.close()

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """End HAProxy: it stops listening at once and requests in flight get `grace` seconds."""
        self._stopped = True
        if self._master is not None:
            async with self._acting:
                await self._writer.flush()
                await self._master.stop(grace)

    # --------------------------------------------------------------------------------------------- facts in

    def offer(self, snapshot: Snapshot) -> None:
        """`snapshot` shall be run. Read when its turn comes, on this thread: what is changed in it until then counts."""
        if self._reconciler is None:
            self._first = snapshot
        else:
            self._reconciler.offer(snapshot)

    # ------------------------------------------------------------------------------------------ what is true

    def report(self) -> GatewayReport:
        """The gateway as it runs."""
        knobs = self.settings.gateway
        master, reconciler = self._master, self._reconciler
        if master is None or reconciler is None or self.binary is None:
            return GatewayReport()
        return GatewayReport(
            pid=master.process.pid if master.process else None,
            version=dotted(self.binary.version),
            generation=reconciler.running.generation,
            revision=reconciler.running.revision,
            address=f"{knobs.host}:{knobs.port}",
            mesh=f"127.0.0.1:{knobs.mesh_port}",
            mesh_ports=knobs.mesh_ports,
            reloads=reconciler.reloads,
            last_reload=reconciler.last_reload,
            old_workers=len(self._traffic.old_workers) if self._traffic else 0,
            errors=reconciler.alarms.count + self._writer.failures,
            last_error=reconciler.alarms.cause,
            last_hint=reconciler.alarms.hint,
            restarts=self._restarts,
            reload_kinds=dict(reconciler.reload_kinds),
            healed=reconciler.healed,
            refused=len(reconciler.refused),
            panics=tuple(name for name, pool in sorted(self._traffic.pools.items()) if pool.panic is not None)
            if self._traffic
            else (),
            last_good_age=self._clock.now() - reconciler.agreed,
        )

    def servers(self) -> tuple[ServerReport, ...]:
        """What HAProxy's checks said of every instance, at most a second or so ago."""
        return self._traffic.reports if self._traffic else ()

    def limits(self) -> tuple[LimitReport, ...]:
        """Requests under way where their number is limited, at most a second or so ago."""
        return self._traffic.limits if self._traffic else ()

    def failovers(self) -> tuple[FailoverReport, ...]:
        """To which of their groups requests of services go, at most a second or so ago."""
        return self._traffic.standings.reports if self._traffic else ()

    def breakers(self) -> tuple[BreakerReport, ...]:
        """What the circuit breakers did, at most a second or so ago; forced ones too."""
        return self._traffic.breakers if self._traffic else ()

    @property
    def sightings(self) -> int:
        """Grows when an instance, a breaker or a service's group is seen in another state than at the look before."""
        return self._traffic.sightings if self._traffic else 0

    @property
    def pids(self) -> tuple[int, ...]:
        """Every process of HAProxy: the master, its worker, the old ones; at most a second old."""
        master = self._master.process if self._master else None
        return (*((master.pid,) if master else ()), *(self._traffic.workers if self._traffic else ()))

    @property
    def adopted(self) -> bool:
        """Whether an earlier node left the HAProxy that runs."""
        return self._master is not None and self._master.adopted

    @property
    def restarts(self) -> int:
        """Times that HAProxy ended unasked and was started again."""
        return self._restarts

    @property
    def config(self) -> GatewayConfig:
        """What HAProxy runs as far as we know."""
        return self._reconciler.running if self._reconciler else GatewayConfig()

    @property
    def differences(self) -> tuple[str, ...]:
        """What the last look at HAProxy found different from `config`, as sentences; healed by the next round."""
        return self._reconciler.differences if self._reconciler else ()

    @property
    def refused(self) -> tuple[str, ...]:
        """Facts that the wanted config leaves out, as sentences."""
        return self._reconciler.refused if self._reconciler else ()

    # ----------------------------------------------------------------------------------- traffic questions

    async def routed(self, service: ServiceName, instance: InstanceId) -> None:
        """Wait until HAProxy has this instance and may send it requests."""
        await self._asked().routed(service, instance)

    async def idle(self, service: ServiceName, instance: InstanceId, within: float) -> bool:
        """Wait until this instance gets no new requests and has none left; False when that takes over `within` seconds."""
        return await self._asked().idle(service, instance, within)

    def _asked(self) -> Traffic:
        if self._traffic is None:
            raise GatewayRefused("the gateway does not run yet", hint="ask inside `async with driver.running()`")
        return self._traffic

    # -------------------------------------------------------------------------------------------- the loops

    async def _begin(self, master: Master, reconciler: Reconciler, traffic: Traffic) -> float:
        """Adopt the HAProxy that runs, or start one; how many seconds those get that it succeeds."""
        if await master.adopt():
            folder = await asyncio.to_thread(self.folder.target, self.folder.current)
            known = await self._load(folder)
            if folder is not None and known is not None:
                standings = recalled(known.failovers, dict(known.maps.get(FAILOVERS, ())))
                traffic.standings.recall(standings)
                reconciler.fail_over(standings)
                reconciler.adopt(known)
                if not await asyncio.to_thread(self._rendered_as, known, folder):
                    reconciler.force_reload("settings or version changed since the running file was written")
                elif not await self._loads(known):
                    reconciler.force_reload("an earlier node may not have seen a reload through")
                return ORPHAN_GRACE
            self._log.warning("the running HAProxy's files are gone; it will be replaced")
        states = await master.states() if master.runs else None
        if states is None:
            await master.kill()
        await self._start(master, reconciler, first=True, states=states or "")
        return ORPHAN_GRACE if states is None else self.settings.gateway.drain_limit

    async def _start(self, master: Master, reconciler: Reconciler, *, first: bool, states: str = "") -> None:
        """Start HAProxy from the newest configuration that it takes; beside one that serves, whose `states` these are.

        Raises:
            PortTaken: somebody else listens where we want to.
            GatewayRefused: it takes none.
        """
        refusals: list[str] = []
        async for folder in self._candidates(reconciler, first=first):
            known = await self._load(folder)
            try:
                async with master.runtime.writing:  # what is on its way out is not sought in a process that comes up
                    await master.start(folder, states)
                    reconciler.adopt(known or GatewayConfig())
                    return
            except GatewayRefused as error:
                refusals.append(error.detail)
                self._log.error("HAProxy does not start", folder=folder.name, cause=error)
        raise GatewayRefused(f"HAProxy starts from no configuration: {refusals[0]}", hint="see the gateway's log")

    async def _candidates(self, reconciler: Reconciler, *, first: bool) -> AsyncIterator[Path]:
        """Folders to start from, the best first."""
        current = await asyncio.to_thread(self.folder.target, self.folder.current)
        known = await self._load(current)
        if first:
            # settings, version or facts may have changed since the file was written: render it anew
            if known is not None:
                reconciler.running = known
            try:
                wanted = reconciler.decide() or known
                if wanted is not None:
                    yield await self._writer.stage(topped_up(wanted, self.settings.gateway))
            except AtollError as error:
                self._log.error("the last configuration cannot be rendered", cause=error)
        else:
            try:
                await self._writer.flush()
            except OSError as error:
                self._log.error("the gateway's files cannot be written", cause=error)
        for link in (self.folder.current, self.folder.good):
            folder = await asyncio.to_thread(self.folder.target, link)
            # one without its config was cut short by a power failure, though HAProxy might take what is left of it
            if folder is not None and await self._load(folder) is not None:
                yield folder
        yield await self._writer.stage(topped_up(GatewayConfig(), self.settings.gateway))

    async def _keep(self, master: Master, reconciler: Reconciler) -> None:
        """Whenever HAProxy ends unasked, start it again."""
        backoff = Backoff(base=0.05, cap=5.0)
        while True:
            if master.runs:
                code = await master.ended()
                if self._stopped:
                    return
                self._log.error("HAProxy ended; starting it again", exit=code)
                self._restarts += 1
            async with self._acting:
                if self._stopped:
                    return
                try:
                    await self._start(master, reconciler, first=False)
                    backoff.reset()
                    reconciler.alarms.end(NOT_STARTED)
                except (AtollError, OSError) as error:
                    reconciler.alarms.sound(NOT_STARTED, error)
            await master.end_orphans()
            if not master.runs:
                await self._clock.sleep(backoff.next())

    async def _reconcile(self, master: Master, reconciler: Reconciler, tasks: Tasks) -> None:
        """Round after round, the first change at once and the following ones together."""
        while not self._stopped:
            news = await reconciler.wait()
            began, before = self._clock.now(), reconciler.running.generation
            async with self._acting:
                if master.runs and not self._stopped and await reconciler.round() is Health.SILENT:
                    if await reconciler.hand_over():
                        tasks.start("predecessor", master.end_orphans(self.settings.gateway.drain_limit))
                    else:
                        self._log.error("HAProxy hangs; replacing it")
                        await master.kill()
            # after a look, or facts that change nothing here, nothing is gathered: the next change is a first one
            # again; a round that is expensive (among thousands of services) is followed by a pause as long, so that a
            # flood leaves half of the time to others
            changed = reconciler.running.generation != before
            gather = self.settings.gateway.debounce if changed or not master.runs else 0.0
            pause = max(gather, min(self._clock.now() - began, LONGEST_PAUSE))
            await self._clock.sleep(pause if news or not master.runs else 0.0)

    def _told(self, change: BreakerChange) -> None:
        """A breaker's transition: for the node's log, and for the history as soon as a control plane takes it."""
        self._log.warning(
            "a circuit breaker changed",
            service=change.service,
            caller=change.caller,
            state=change.state,
            reason=change.reason,
            opened=change.opened,
            rejected=change.rejected,
        )
        self.changes.append(msgspec.structs.replace(change, node=self.settings.node))

    def _failed_over(self, report: FailoverReport) -> None:
        """A service's requests go elsewhere, for the node's log."""
        self._log.warning("failover", service=report.service, to=report.group, cause=report.cause, forced=report.forced)

    def _outlier(self, service: ServiceName, instance: InstanceId | None, what: str) -> None:
        """An instance was ejected, or none is any more, for the node's log."""
        self._log.warning("outliers", service=service, instance=instance or "", what=what)

    async def _watch(self, master: Master, reconciler: Reconciler, traffic: Traffic) -> None:
        while True:
            began = self._clock.now()
            if master.runs:
                try:
                    await traffic.refresh()
                except Unanswered as error:
                    self._log.debug("no statistics", cause=error)
                except Exception as error:  # noqa: BLE001 - a bug of ours must not take the gateway or the node along
                    reconciler.alarms.sound(f"statistics cannot be judged ({type(error).__name__})", error)
            await self._clock.sleep(max(self._rhythm.unsettled, (self._clock.now() - began) / self._rhythm.share))
            while not traffic.unsettled and self._clock.now() - began < self._rhythm.stats:
                await self._clock.sleep(self._rhythm.unsettled)

    # ------------------------------------------------------------------------------------------------ files

    def _render(self, config: GatewayConfig) -> dict[str, bytes]:
        log = request_log_of(self.settings)
        files = render(config, self.settings.gateway, self.files, self._rendered, log)
        maps = {map_path(name): text.encode() for name, text in files.maps.items()}
        scripts = {name: text.encode() for name, text in files.scripts.items()}
        return {MAIN: files.config.encode(), **maps, **scripts}

    async def _loads(self, known: GatewayConfig) -> bool:
        """Whether what HAProxy was last started from can do what the files say that it runs."""
        good = await self._load(await asyncio.to_thread(self.folder.target, self.folder.good))
        return good is not None and not isinstance(make_plan(good, known), Reload)

    async def _load(self, folder: Path | None) -> GatewayConfig | None:
        return None if folder is None else await asyncio.to_thread(self._writer.load, folder)

    def _rendered_as(self, config: GatewayConfig, folder: Path) -> bool:
        try:
            return self._render(config)[MAIN] == (folder / MAIN).read_bytes()
        except (AtollError, OSError):
            return False
