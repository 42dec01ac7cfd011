"""Conducts a chaos run: the standard faults over every service, one after the other, each followed by a look that all is right.

Owns the order and the clockwork; what anything means is decided in `checks` and `score`. Promises that every fault is
undone when this returns or raises.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from atoll.drill import checks, scene
from atoll.drill.aim import Aim, candidates
from atoll.drill.checks import Check, WaySeen
from atoll.drill.conduct import Conductor, Say
from atoll.drill.fault import Guard, Killed, Paused, leader
from atoll.drill.ground import Ground, Picture
from atoll.drill.history import Asked, History
from atoll.drill.injected import NAME, injection
from atoll.drill.judge import SLOW, judge
from atoll.drill.load import Load, ask_once
from atoll.drill.parts import CALLED, process_of
from atoll.drill.scene import Scene, Victim
from atoll.drill.ways import Way, ways_to
from atoll.errors import AtollError, NotReady
from atoll.gateway.config import Files
from atoll.gateway.counts import parse_counts
from atoll.gateway.process import Identity
from atoll.gateway.runtime import Runtime, Unanswered
from atoll.kit.clock import Clock, Instant
from atoll.kit.tasks import Tasks, owned
from atoll.model.cadence import out_within
from atoll.model.names import ServiceName
from atoll.model.service import Protocol, Service

RATE = 30.0
"""Requests a second of a load."""
KILL_FOR = 4.0
"""Seconds of load around a kill."""
PAUSE = 6.0
"""Seconds that a whole service stands still: longer than any timeout that anybody should wait for."""
EARLY, LATE = 0.1, 4.5
"""Seconds after its begin at which each way is asked: before the gateway can notice, and after it should have."""
ASKS = 2
"""Requests of each way at each of these moments."""
PATIENCE = PAUSE + 10.0
"""Seconds that such a request waits."""
OUT_SPARE, PAUSE_MOST = 1.0, 20.0
PART_FOR, PART_RATE = 5.0, 10.0
PART_BACK = {"control-plane": 20.0, "gateway": 10.0, "telemetry": 60.0}
"""Seconds within which a killed part must answer again."""
FAIL_FOR, FAIL_RATE = 3.0, 20.0
REST = 30.0
"""Seconds within which everything must be as it was before."""
LOOK = 0.25


class Chaos:
    """One run; `checks` and `skipped` grow while it goes on."""

    def __init__(self, ground: Ground, clock: Clock, say: Say) -> None:
        self.checks: list[Check] = []
        self.skipped: list[str] = []
        self._ground = ground
        self._clock = clock
        self._say = say
        self._files = Files(ground.settings.run / "haproxy")
        self._conductor = Conductor(self._files.runtime, clock, _silent)

    async def standard(self) -> None:
        """The standard faults.

        Raises:
            NotReady: the platform is not right to begin with.
        """
        traced = await process_of("telemetry", self._ground.settings) is not None
        self._conductor = Conductor(self._files.runtime, self._clock, _silent, traced=traced)
        before = await self._picture()
        facts = await asyncio.to_thread(self._ground.facts)
        lame = [name for name, one in sorted(facts.services.items()) if _wanted(one) > _there(one, before)]
        if lame:
            raise NotReady(f"not all instances of {', '.join(lame)} pass", hint="begin from health: `atoll wait`")
        services = [one for _, one in sorted(facts.services.items()) if await self._can(one)]
        for service in services:
            await self._kill_one(service, before)
            await self._pause_one(service, before)
            await self._pause_all(service, before)
        await self._parts(services, before)
        for service in services:
            await self._fail(service, before)

    # A service

    async def _can(self, service: Service) -> bool:
        name = service.name
        if service.run is None or service.run.stopped or not service.run.replicas:
            self._skip(f"{name}: the platform runs no instance of it")
        elif service.protocol is Protocol.TCP or service.run.port is None:
            self._skip(
                f"{name}: no requests can be made to it ({'tcp' if service.run.port is not None else 'no port'})"
            )
        elif await self._aim(await self._scene(name)) is None:
            self._skip(f"{name}: nothing it is asked is answered well; what could be lost?")
        else:
            return True
        return False

    async def _kill_one(self, service: Service, before: Picture) -> None:
        self._say(f"{service.name}: one instance is killed")
        seen = await self._scene(service.name)
        victim = scene.require_victims(seen)[0]
        await self._note(seen, [victim.instance], "chaos: kill")
        history = await self._conductor.conduct(
            Killed(self._leaders(seen, [victim])), await self._aim(seen), victims=[victim.instance],
            endpoints=seen.endpoints, rate=RATE, duration=KILL_FOR, hold=0.0,
        )  # fmt: skip
        self.checks += checks.of_kill(service.name, len(seen.victims), judge(history))
        await self._rest(service.name, "a kill", before)

    async def _pause_one(self, service: Service, before: Picture) -> None:
        seen = await self._scene(service.name)
        if len(seen.victims) < 2:
            return
        self._say(f"{service.name}: one of {len(seen.victims)} instances stands still")
        within = min(out_within(service.check) + OUT_SPARE, PAUSE_MOST)
        victim = seen.victims[-1]
        await self._note(seen, [victim.instance], "chaos: pause")
        with Guard() as guard:
            history = await self._conductor.conduct(
                Paused(self._leaders(seen, [victim]), guard, self._clock), await self._aim(seen), victims=[victim.instance],
                endpoints=seen.endpoints, rate=RATE, duration=1.6 * (within + 2.0), hold=within + 2.0,
            )  # fmt: skip
        disturbed = [
            one for one in history.requests if one.start > history.fault_at + within and (one.lost or one.took > SLOW)
        ]
        self.checks.append(checks.of_pause_one(service.name, len(seen.victims), disturbed, within, judge(history)))
        await self._rest(service.name, "a pause", before)

    async def _pause_all(self, service: Service, before: Picture) -> None:
        seen = await self._scene(service.name)
        aimed = await self._ways(seen)
        if not aimed:
            self._skip(f"{service.name}: nobody calls it by a way that could be asked")
            return
        self._say(f"{service.name}: all of it stands still; {_asked(aimed)}")
        await self._note(seen, [one.instance for one in seen.victims], f"chaos: pause for {PAUSE:g} s")
        clock = self._clock
        with Guard() as guard:
            fault = Paused(self._leaders(seen, scene.require_victims(seen)), guard, clock)
            began = clock.now()
            async with owned("pause") as tasks:
                try:
                    await fault.begin()
                    await clock.sleep(EARLY)
                    early = {way.name: [self._ask(tasks, aim, began) for _ in range(ASKS)] for way, aim in aimed}
                    await clock.sleep(began + LATE - clock.now())
                    late = {way.name: [self._ask(tasks, aim, began) for _ in range(ASKS)] for way, aim in aimed}
                    await clock.sleep(began + PAUSE - clock.now())
                finally:
                    resumed = clock.now() - began
                    await fault.end()
                for way, _ in aimed:
                    first = tuple([await one for one in early[way.name]])
                    second = tuple([await one for one in late[way.name]])
                    self.checks += checks.of_way(WaySeen(way=way, early=first, late=second, resumed=resumed))
        await self._rest(service.name, "a pause of all of it", before)

    async def _fail(self, service: Service, before: Picture) -> None:
        seen = await self._scene(service.name)
        aimed = await self._ways(seen)
        if not aimed:
            return
        fault = injection("errors", service.name, seconds=len(aimed) * FAIL_FOR)
        try:
            await asyncio.to_thread(self._ground.inject, fault)
        except AtollError as error:
            self._skip(f"{service.name}: failing answers could not be injected: {error.detail}")
            return
        self._say(f"{service.name}: every answer of it is an error; {_asked(aimed)}")
        try:
            for way, aim in aimed:
                load = Load(aim, self._clock, rate=FAIL_RATE, began=self._clock.now())
                await load.run(FAIL_FOR)
                self.checks.append(checks.of_failing(way, load.requests))
        finally:
            await asyncio.to_thread(self._ground.clear, NAME)
        if seen.service.breaker_word.holds(self._clock.wall()) is None:  # an operator's word is not ours to take back
            await asyncio.to_thread(self._ground.reset_breaker, service.name)
        await self._rest(service.name, "failing answers", before)

    # The platform

    async def _parts(self, services: Sequence[Service], before: Picture) -> None:
        for part, called in CALLED.items():
            process = await process_of(part, self._ground.settings)
            if process is None:
                if part != "telemetry":  # which is only there where it is wanted
                    self._skip(f"{called} does not run")
                continue
            self._say(f"{called} is killed")
            asked, fault_at, back = await self._kill_part(part, process, services)
            verdict = judge(History(requests=asked, fault_at=fault_at))
            self.checks += checks.of_part(part, called, asked, verdict.recovered, back, PART_BACK[part])
            await self._rest(part, "its end", before)

    async def _kill_part(
        self, part: str, process: Identity, services: Sequence[Service]
    ) -> tuple[tuple[Asked, ...], float, float | None]:
        clock = self._clock
        began = clock.now()
        aims = [aim for one in services if (aim := await self._aim(await self._scene(one.name))) is not None]
        loads = [Load(aim, clock, rate=PART_RATE, began=began) for aim in aims]
        async with owned("part") as tasks:
            running = [tasks.start("load", load.run(PART_FOR)) for load in loads]
            await clock.sleep(1.0)
            fault_at = clock.now() - began
            await Killed([process]).begin()
            back = await self._again(part, process)
            for one in running:
                await one
        asked = sorted((one for load in loads for one in load.requests), key=lambda one: one.start)
        return tuple(asked), fault_at, back

    async def _again(self, part: str, dead: Identity) -> float | None:
        """Seconds until another process of the part answers."""
        clock = self._clock
        began = clock.now()
        while clock.now() - began < PART_BACK[part]:
            await clock.sleep(0.05)
            found = await process_of(part, self._ground.settings)
            if found is not None and found != dead and await self._answers(part):
                return clock.now() - began
        return None

    async def _answers(self, part: str) -> bool:
        try:
            if part == "gateway":
                await Runtime(self._files.runtime, self._clock).ask("show info")
            elif part == "control-plane":
                await asyncio.to_thread(self._ground.nodes)
            else:
                await asyncio.to_thread(self._ground.telemetry)
        except (AtollError, Unanswered):
            return False
        return True

    # What is so

    async def _rest(self, about: str, fault: str, before: Picture) -> None:
        """Wait until all is as before, for REST seconds."""
        clock = self._clock
        end = clock.now() + REST
        while True:
            try:
                wrong = before.wrong(await self._picture())
            except (AtollError, Unanswered) as error:
                wrong = [str(error)]
            if not wrong or clock.now() > end:
                break
            await clock.sleep(LOOK)
        self.checks.append(checks.of_rest(about, fault, wrong))
        if about not in CALLED:
            with contextlib.suppress(AtollError):  # it was told when it began; that counts
                await asyncio.to_thread(self._ground.note, ServiceName(about), (), f"chaos ended: {fault}")

    async def _picture(self) -> Picture:
        facts = await asyncio.to_thread(self._ground.facts)
        nodes = await asyncio.to_thread(self._ground.nodes)
        counts = parse_counts(await Runtime(self._files.runtime, self._clock).ask("show stat -1 4 -1"))
        return Picture(facts, nodes, counts)

    async def _scene(self, name: str) -> Scene:
        """Now: after every fault pids and ports are others."""
        facts = await asyncio.to_thread(self._ground.facts)
        return scene.scene_of(facts, await asyncio.to_thread(self._ground.nodes), name)

    async def _aim(self, seen: Scene) -> Aim | None:
        try:
            return await self._conductor.take_aim(list(candidates(seen.service, seen.routes, seen.gateway, seen.mesh)))
        except NotReady:
            return None

    async def _ways(self, seen: Scene) -> list[tuple[Way, Aim]]:
        """The ways that can be asked, each with what is answered well on it."""
        facts = await asyncio.to_thread(self._ground.facts)
        gateway = scene.gateway_of(await asyncio.to_thread(self._ground.nodes))
        found: list[tuple[Way, Aim]] = []
        for way in ways_to(seen.service, facts, seen.gateway, seen.mesh, gateway.mesh_ports):
            try:
                found.append((way, await self._conductor.take_aim(way.aims)))
            except NotReady as error:
                self._skip(f"{way.text}: {error.detail}")
        return found

    def _ask(self, tasks: Tasks, aim: Aim, began: Instant) -> asyncio.Task[Asked]:
        return tasks.start("ask", ask_once(aim, self._clock, began=began, timeout=PATIENCE))

    def _leaders(self, seen: Scene, victims: Sequence[Victim]) -> list[Identity]:
        return [leader(seen.service.name, one.instance, self._ground.settings) for one in victims]

    async def _note(self, seen: Scene, instances: Sequence[str], what: str) -> None:
        await asyncio.to_thread(self._ground.note, seen.service.name, instances, what)

    def _skip(self, what: str) -> None:
        if what not in self.skipped:
            self.skipped.append(what)
            self._say(f"skipped: {what}")


def _wanted(service: Service) -> int:
    return 0 if service.run is None or service.run.stopped else service.run.replicas


def _there(service: Service, picture: Picture) -> int:
    """A service that listens nowhere is not registered: it is there when it runs."""
    silent = service.run is not None and service.run.port is None
    return (picture.running if silent else picture.passing)[service.name]


def _asked(aimed: Sequence[object]) -> str:
    return f"{len(aimed)} ways to it are asked" if len(aimed) > 1 else "one way to it is asked"


def _silent(_text: str) -> None:
    """A chaos run tells of its faults itself."""
