"""Making what runs equal what is wanted: decide, apply, read back, again.

    snapshot → intent → plan → apply → read back
                          └→ reload, when HAProxy cannot do it while it runs

The first change is applied at once, what follows it is gathered for `debounce` seconds. While it is quiet, what HAProxy
runs is read back every second and differences are healed. A config that cannot be made, rendered or loaded is refused:
the last good one stays and an alarm says why. What is unknown is never guessed: it is read back first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from atoll.errors import AtollError, GatewayRefused, PortTaken
from atoll.gateway import emptied
from atoll.gateway.alarms import Alarms
from atoll.gateway.apply import Applier, StalePlan
from atoll.gateway.config import GatewayConfig, map_path
from atoll.gateway.ejection import NONE, Ejections
from atoll.gateway.intent import Memo, intend, topped_up
from atoll.gateway.interim import interim, unreachable
from atoll.gateway.master import Master
from atoll.gateway.pace import reload_wait
from atoll.gateway.plan import AddServer, Plan, Reload, SwapMap, make_plan
from atoll.gateway.readback import Present, ServerRow, parse_map, parse_map_versions, parse_servers, present
from atoll.gateway.reasons import kind_of
from atoll.gateway.retire import Retirement
from atoll.gateway.rhythm import USUAL, Rhythm
from atoll.gateway.runtime import Unanswered
from atoll.gateway.verify import touched, unfulfilled
from atoll.gateway.writer import ConfigWriter
from atoll.kit.clock import Clock, Instant
from atoll.kit.logs import Log
from atoll.model.names import ServiceName
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway

SILENT_ROUNDS = 3
"""Rounds without an answer at least until HAProxy is taken for hung: after a pause of this node one question looks as if it had been waited for all the time."""
REFUSED_LIMIT = 3
"""Runtime failures in a row after which a reload is tried instead."""
REFUSED_PAUSE = 30.0
"""Seconds until a reload that was refused is tried again without anything new; a taken port may be free then."""
VERIFY_LIMIT = 50
"""Backends whose states are read back right after an apply; more are left to the full look that follows."""
THREAD_BYTES = 200_000
"""Answers longer than this are parsed beside the loop."""


T = TypeVar("T")


class Health(Enum):
    """What the last round found."""

    GOOD = "good"
    SILENT = "silent"


class Reconciler:
    """One HAProxy's truth. `running` is what it runs as far as we know; one task calls `round`."""

    def __init__(
        self,
        settings: Gateway,
        master: Master,
        writer: ConfigWriter,
        clock: Clock,
        log: Log,
        *,
        rhythm: Rhythm = USUAL,
    ) -> None:
        self.running = GatewayConfig()
        self.wanted: GatewayConfig | None = None
        self.retirement = Retirement(master.runtime, clock, log, limit=settings.drain_limit)
        self.applier = Applier(master.runtime, self.retirement, log)
        self.reloads = 0
        self.reload_kinds: Counter[str] = Counter()
        """Reloads by `reasons.kind_of`."""
        self.last_reload = ""
        self.agreed = clock.now()
        """When HAProxy last ran exactly what the newest facts ask for."""
        self.healed = 0
        """Differences found by reading back, all told."""
        self.differences: tuple[str, ...] = ()
        """The last ones found, as sentences."""
        self.refused: tuple[str, ...] = ()
        """Facts that the wanted config leaves out."""
        self.alarms = Alarms(clock, log)
        self.on_applied: Callable[[], None] = lambda: None
        """Called when `running` has changed and HAProxy has confirmed it."""
        self._settings = settings
        self._rhythm = rhythm
        self._master = master
        self._writer = writer
        self._clock = clock
        self._log = log
        self._memo = Memo()
        self._snapshot: Snapshot | None = None
        self._facts: Snapshot | None = None
        """What was looked at last."""
        self._ejected = NONE
        self._standings: dict[ServiceName, int] = {}
        """At which of its groups a service is, where that is not the first."""
        self._empty = emptied.NONE
        self._offered = asyncio.Event()
        self._unsure = True
        self._halted: frozenset[tuple[str, str]] = frozenset()
        self._marks: dict[str, tuple[int, int]] = {}
        self._turn = 0
        """Looks so far: each reads one map whatever its mark says."""
        self._looked = Instant(0.0)
        self._look_cost = 0.0
        self._silent: Instant | None = None
        """When the first of the unanswered rounds began."""
        self._unanswered = 0
        self._failed = 0
        self._pending: Reload | None = None
        self._forced: tuple[str, ...] = ()
        self._reloaded: Instant | None = None
        self._refused: GatewayConfig | None = None
        self._impossible = False
        """The newest facts cannot be run at all."""
        self._refused_until = Instant(0.0)

    def offer(self, snapshot: Snapshot) -> None:
        """`snapshot` is wanted; it replaces what was offered before and not looked at yet."""
        self._snapshot = snapshot
        self._offered.set()

    def eject(self, ejected: Ejections) -> None:
        """These instances shall get less of the requests, or none; it replaces what was said before."""
        if ejected != self._ejected:
            self._ejected = ejected
            if self._snapshot is None and self._facts is not None:
                self.offer(self._facts)

    def fail_over(self, standings: dict[ServiceName, int]) -> None:
        """Requests to these services shall go to that one of their groups; it replaces what was said before."""
        if standings != self._standings:
            self._standings = standings
            if self._snapshot is None and self._facts is not None:
                self.offer(self._facts)

    def tell_empty(self, sections: emptied.Sections) -> None:
        """Of these sections nobody takes requests; it replaces what was said before."""
        if sections != self._empty:
            self._empty = sections
            if self._snapshot is None and self._facts is not None:
                self.offer(self._facts)

    def adopt(self, config: GatewayConfig) -> None:
        """A HAProxy process runs that was started from `config`, or left running by an earlier node."""
        self.running = config
        self.applier.generation = config.generation
        self.retirement.forget()
        self._marks.clear()
        self._halted = frozenset()
        self._pending = None
        self._silent, self._failed = None, 0
        self._unsure = True
        self._offered.set()

    def force_reload(self, reason: str) -> None:
        """Reload at the next allowed moment, whatever the plan says."""
        self._forced = (*self._forced, reason)
        self._offered.set()

    def decide(self) -> GatewayConfig | None:
        """The config for the offered snapshot, when there is one; a refused one leaves what was wanted before."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            self._facts = snapshot
            try:
                intent = intend(
                    snapshot, self.running, self._settings, self._memo, self._ejected, self._standings, self._empty
                )
            except AtollError as error:
                self._impossible = True
                self.alarms.sound("the facts cannot be run; the last good configuration stays", error)
                return self.wanted
            self._impossible = False
            if intent.refused != self.refused:
                self.refused = intent.refused
                for sentence in intent.refused[:20]:
                    self._log.warning("left out of the gateway", fact=sentence)
            self.wanted = intent.config
        return self.wanted

    async def wait(self) -> bool:
        """Until there is something to do; whether that is news (else a look that is due, or a reload that may be)."""
        seconds = max(0.0, self._looked + self._look_interval - self._clock.now())
        if self._unsure:
            seconds = 0.1 if self._silent is not None else 0.05 * self._failed
        if self._pending or self._forced:
            pause = self._refused_until - self._clock.now() if self._forced else 0.0
            seconds = min(seconds, max(0.01, pause, self._reload_wait()))
        try:
            async with asyncio.timeout(seconds):
                await self._offered.wait()
        except TimeoutError:
            return False
        self._offered.clear()
        return True

    async def round(self) -> Health:
        """One time decide, apply, read back; never raises for what HAProxy does or does not."""
        began = self._clock.now()
        bringing = False
        try:
            news = self._snapshot is not None
            self.decide()
            # a change goes before a look, unless looks have waited for long
            due = self._looked + self._look_interval * (5 if news else 1)
            if self._unsure or began >= due:
                await self._look()
                self._silent = None  # it answers: what was not answered before was slow, not hung
            bringing = True
            await self._bring()
            self._silent, self._failed = None, 0
        except StalePlan as error:
            self._log.debug("a newer snapshot came first", plan=error)
            self._offered.set()
        except Unanswered as error:
            self._unsure = True
            self._unanswered = 1 if self._silent is None else self._unanswered + 1
            self._silent = began if self._silent is None else self._silent
            self.alarms.sound("HAProxy did not answer; its state will be read back", error)
            if bringing:
                self._count_failure()  # it may show what runs, and never do what it is told
            if self._unanswered >= SILENT_ROUNDS and self._clock.now() - self._silent >= self._rhythm.silence:
                return Health.SILENT
        except AtollError as error:
            self._unsure = True
            self._silent = None
            self.alarms.sound("HAProxy refused a change; its state will be read back", error)
            self._count_failure()
        except OSError as error:
            self.alarms.sound("the gateway's files cannot be written", error)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not take the gateway or the node along
            self._unsure = True
            self._failed = min(self._failed + 1, REFUSED_LIMIT)
            self.alarms.sound(
                f"the gateway failed on a change ({type(error).__name__}); the last good configuration stays", error
            )
        return Health.GOOD

    def _count_failure(self) -> None:
        self._failed += 1
        if self._failed == REFUSED_LIMIT:
            self._forced = (f"a change failed {REFUSED_LIMIT} times while running: {self.alarms.cause}", *self._forced)

    async def hand_over(self) -> bool:
        """Let a successor take over from a HAProxy that serves and does not answer us; False: it hangs, nothing was done.

        Its runtime socket was removed, replaced, or all its places are taken: whoever sends requests knows nothing of it.
        """
        states = await self._master.states()
        if states is None:
            return False
        self._silent = None  # when this fails, it is tried again as late
        await self._master.end_orphans(0)  # those of one succession at a time
        folder = None
        try:
            config = topped_up(self.running, self._settings)
            folder = await self._writer.stage(config)
            async with self._master.runtime.writing:
                await self._master.start(folder, states)
                self.adopt(config)
        except (AtollError, OSError) as error:
            self.alarms.sound("HAProxy cannot be replaced by one that answers; it serves on", error)
            self._writer.offer(self.running)
            if folder is not None:
                await self._writer.discard(folder)
        else:
            self._count_reload(("HAProxy serves, and its runtime socket did not answer",), config)
        return True

    @property
    def _look_interval(self) -> float:
        return max(self._rhythm.quiet, self._look_cost / self._rhythm.share)

    async def _bring(self) -> None:
        target = self.wanted
        if target is None:
            # nobody has said yet what shall be: what runs goes on, whatever was written
            return
        plan = make_plan(self.running, target)
        self._pending = plan if isinstance(plan, Reload) else None
        if isinstance(plan, Reload):
            hopeless = target is self._refused and self._clock.now() < self._refused_until
            if not hopeless and self._reload_wait() <= 0:
                await self._reload(target, (*self._forced, *plan.reasons))
                return
            self._pending = None if hopeless else plan
            target = interim(self.running, target, hopeless=hopeless)
            plan = make_plan(self.running, target)
            assert isinstance(plan, Plan), "an interim config needs no reload"
        elif self._forced and self._clock.now() >= self._refused_until and self._reload_wait() <= 0:
            # before the plan: it may be what fails
            await self._reload(target, self._forced)
            return
        await self._apply(plan, target)
        self._agree(target)

    async def _apply(self, plan: Plan, target: GatewayConfig) -> None:
        unwanted = self._unwanted(plan)
        if unwanted:
            await self.applier.halt(unwanted)
        self._halted = frozenset()
        if plan.operations:
            self._unsure = True
            await self.applier.apply(plan, still=lambda: self._snapshot is None)
            await self._verify(plan)
            self._unsure = False
        else:
            self.applier.generation = max(self.applier.generation, plan.generation)
        rewrite = bool(plan.operations) or target.generation != self.running.generation
        self.running = target
        if rewrite:
            self._writer.offer(target)
        self.on_applied()

    def _unwanted(self, plan: Plan) -> list[tuple[str, str]]:
        """Halted servers that the plan does not bring back and that are not on their way out already."""
        wanted = {(each.backend, each.server.name) for each in plan.operations if isinstance(each, AddServer)}
        return sorted(each for each in self._halted - wanted if each not in self.retirement)

    async def _verify(self, plan: Plan) -> None:
        """Ask HAProxy whether what was done is so; what a full look would take too long for is left to the next one.

        Raises:
            GatewayRefused: it is not so.
            Unanswered: it does not say.
        """
        swapped = [map_path(each.name) for each in plan.operations if isinstance(each, SwapMap)]
        if swapped:
            versions = parse_map_versions(await self._master.runtime.ask("show map"))
            for file in swapped:
                self._marks.pop(file, None)
                if file not in versions or versions[file][0] != self.applier.committed[file]:
                    raise GatewayRefused(
                        f"HAProxy took version {self.applier.committed[file]} of {file} and does not show it"
                    )
        backends = touched(plan)
        if backends and len(backends) <= VERIFY_LIMIT:
            rows: list[ServerRow] = []
            for backend in backends:
                rows += parse_servers(await self._master.runtime.ask(f"show servers state {backend}"))
            wrong = unfulfilled(plan, rows)
            if wrong:
                raise GatewayRefused(f"HAProxy took {wrong[0]!r:.200} and does not show it")

    async def _look(self) -> None:
        """Read back everything and make it what we know.

        Raises:
            Unanswered: HAProxy does not say.
        """
        began = self._clock.now()
        runtime = self._master.runtime
        text = await runtime.ask("show servers state")
        rows = await self._parsed(parse_servers, text)
        marks = parse_map_versions(await runtime.ask("show map"))
        maps = {}
        names = sorted(self.running.maps)
        self._turn += 1
        for name, entries in self.running.maps.items():
            file = map_path(name)
            turn = name == names[self._turn % len(names)]  # a value changed in place leaves no mark
            if file in marks and (turn or marks[file] != self._marks.get(file)):
                maps[file] = await self._parsed(parse_map, await runtime.ask(f"show map {file}"))
                if dict(maps[file]) == dict(entries):
                    maps[file] = entries
        self._take(present(self.running, rows, maps))
        self._marks = marks
        self._unsure = False
        self._looked = self._clock.now()
        self._look_cost = self._looked - began

    def _take(self, found: Present) -> None:
        self._halted = frozenset(each for each in found.halted if each not in self.retirement)
        if found.config == self.running:
            self.differences = ()
            return
        back = make_plan(found.config, self.running)
        operations = back.operations if isinstance(back, Plan) else ()
        self.differences = tuple(f"{each!r:.200}" for each in operations[:20])
        if operations:
            self.healed += len(operations)
            self._log.warning("HAProxy runs something else than we thought", count=len(operations), first=operations[0])
        self.running = found.config

    async def _reload(self, target: GatewayConfig, reasons: tuple[str, ...]) -> None:
        config = topped_up(target, self._settings)
        await self._bound_old_workers()
        self._reloaded = self._clock.now()
        folder = None
        try:
            folder = await self._writer.stage(config)
            async with self._master.runtime.writing:  # what is on its way out is not sought in a process that comes up
                try:
                    await self._master.reload(folder)
                except Unanswered:
                    self.retirement.forget()  # it may be another process; what is halted in it will be found
                    raise
                self.retirement.forget()
        except (GatewayRefused, PortTaken) as error:
            self._refused = target
            self._refused_until = Instant(self._clock.now() + REFUSED_PAUSE)
            self._pending = None
            self.alarms.sound("a reload was refused; the last good configuration stays", error)
            self._writer.offer(self.running)
            # what needs no reload is done now
            self._offered.set()
            if folder is not None:
                await self._writer.discard(folder)
            return
        self._forced = ()
        self._count_reload(reasons, config)
        self.adopt(config)
        self.wanted = config
        await self._look()
        self._agree(config)
        self.on_applied()

    def _count_reload(self, reasons: tuple[str, ...], config: GatewayConfig) -> None:
        reason = "; ".join(reasons[:5]) + (f" and {len(reasons) - 5} more" if len(reasons) > 5 else "")
        self.reloads += 1
        self.reload_kinds[kind_of(reasons)] += 1
        self.last_reload = reason
        self._log.info("reloaded HAProxy", reason=reason, generation=config.generation)

    def _agree(self, config: GatewayConfig) -> None:
        if config is self.wanted and not self._impossible and self._snapshot is None:
            self.agreed = self._clock.now()

    async def _bound_old_workers(self) -> None:
        old = (await self._master.workers()).old
        # one more is about to be old
        for pid in old[: max(0, len(old) - self._settings.old_workers + 1)]:
            self._log.warning("too many old workers; ending the oldest", pid=pid)
            await self._master.end_worker(pid)

    def _reload_wait(self) -> float:
        urgent = bool(self._forced) or (self.wanted is not None and bool(unreachable(self.running, self.wanted)))
        return reload_wait(
            self._clock.now(),
            last=self._reloaded,
            worker_since=self._master.worker_since,
            urgent=urgent,
            knobs=self._settings,
        )

    @staticmethod
    async def _parsed(parse: Callable[[str], T], text: str) -> T:
        return await asyncio.to_thread(parse, text) if len(text) > THREAD_BYTES else parse(text)
