"""From a command line to a drill: who is meant, is it wanted; then the drill, its report, and what is shown of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atoll.cli import facts
from atoll.cli.invocation import Invocation
from atoll.cli.proving import FOLDER, ApiGround, only_one, refuse_public, settings_of, state_of, to_the_end
from atoll.drill import scene as scenes
from atoll.drill import words
from atoll.drill.aim import Aim, by_path, candidates, mesh_aim
from atoll.drill.conduct import Conductor
from atoll.drill.fault import Fault, Guard, Killed, Paused, Stuttering, leader
from atoll.drill.ground import Ground
from atoll.drill.injected import DELAY, Injected, injection
from atoll.drill.judge import Promises, judge
from atoll.drill.load import within_limits
from atoll.drill.parts import process_of
from atoll.drill.report import DrillReport, Reports, new_id
from atoll.drill.scene import Scene
from atoll.errors import InvalidValue, Unreachable
from atoll.gateway.config import Files
from atoll.kit.clock import Clock
from atoll.model.service import Protocol
from atoll.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

HOLD = 0.4
"""Part of the load's time that a fault lasts which can be undone, unless `--hold` says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user asked for. Seconds."""

    fault: str
    target: str
    rate: float
    duration: float
    hold: float | None
    delay: float | None
    """Of `slow`: how late each answer is; None: the instance stutters."""
    percent: float
    """Of `errors`, `partition` and `slow` with a delay: share of the requests that it strikes."""
    path: str | None
    mesh: bool
    promises: Promises
    yes: bool
    mean_it: bool

    @property
    def injected(self) -> bool:
        """Whether HAProxy makes the fault, for all requests to a service; else a signal does, for one process."""
        return self.fault in {"errors", "partition"} or (self.fault == "slow" and self.delay is not None)


def reports_of(invocation: Invocation) -> Reports:
    """The reports of drills; the platform need not run.

    Raises:
        Unreachable: no state folder is to be seen from here.
    """
    return Reports(state_of(invocation), DrillReport, folder=FOLDER)


def drill(invocation: Invocation, wish: Wish) -> int:
    """Do it; 1 when a promise was broken."""
    within_limits(wish.rate, wish.duration)
    hold = _hold(wish)
    settings = settings_of(invocation)
    refuse_public(invocation, mean_it=wish.mean_it)
    seen = facts.nodes(invocation.api)
    scene = scenes.scene_of(facts.snapshot(invocation.api), seen, wish.target)
    if wish.injected:
        _require_service(scene, wish)
        whom = str(scene.service.name)
    else:
        whom = f"{', '.join(one.instance for one in scenes.require_victims(scene))} of {scene.service.name}"
    invocation.confirm(f"{wish.fault} {whom} now", yes=wish.yes)
    with only_one(settings):
        report, path = to_the_end(_run(invocation, settings, scene, wish, hold))
    _tell(invocation, report, path)
    return 0 if report.verdict.kept else 1


def _require_service(scene: Scene, wish: Wish) -> None:
    if scene.target != scene.service.name:
        raise InvalidValue(
            f"`{wish.fault}` is made in front of a service, for all its instances; {scene.target} is one of {scene.service.name}",
            hint=f"name {scene.service.name}; or pause {scene.target}, kill it, or let it stutter (slow without --delay)",
            field="target",
        )
    if scene.service.protocol is Protocol.TCP:
        raise InvalidValue(f"{scene.service.name} speaks tcp: only HTTP can be struck", field="target")


def _hold(wish: Wish) -> float:
    hold = wish.hold if wish.hold is not None else HOLD * wish.duration
    if not 0 < hold <= 0.6 * wish.duration:
        raise InvalidValue(
            f"--hold {hold:g} s leaves no time before and after it within {wish.duration:g} s",
            hint=f"at most {0.6 * wish.duration:g} s, or a longer --for",
            field="hold",
        )
    return hold


async def _run(
    invocation: Invocation, settings: Settings, scene: Scene, wish: Wish, hold: float
) -> tuple[DrillReport, Path]:
    clock, say = invocation.clock, invocation.talk.note
    traced = await process_of("telemetry", settings) is not None
    conductor = Conductor(Files(settings.run / "haproxy").runtime, clock, say, traced=traced)
    aims = _aims(scene, wish)
    aim = await conductor.take_aim(aims) if aims else None
    asked = f"{aim.text}, {wish.rate:g}/s for {wish.duration:g} s" if aim else "none: it speaks tcp"
    say(f"load: {asked}")
    ground = ApiGround(invocation, settings)
    names = [one.instance for one in scene.victims if not wish.injected]

    async def note(what: str) -> None:
        await asyncio.to_thread(ground.note, scene.service.name, names, what)

    at = clock.wall()
    with Guard() as guard:
        fault = fault_of(wish, scene, guard, ground, clock, hold)
        await note(f"drill: {wish.fault} under {asked}")
        history = await conductor.conduct(
            fault,
            aim,
            victims=names,
            endpoints=scene.endpoints,
            rate=wish.rate,
            duration=wish.duration,
            hold=hold,
        )
    verdict = judge(history, wish.promises)
    report = DrillReport(
        id=new_id(at, wish.fault),
        at=at,
        fault=wish.fault,
        target=scene.target,
        service=scene.service.name,
        instances=tuple(names),
        of=history.wanted,
        load=aim.text if aim else "",
        rate=wish.rate,
        duration=wish.duration,
        hold=hold if fault.undoable else None,
        summary=words.sentence(verdict),
        verdict=verdict,
    )
    path = Reports(settings.state, DrillReport, folder=FOLDER).keep(report.id, report, history)
    await note(f"drill ended: {report.summary}")
    return report, path


def fault_of(wish: Wish, scene: Scene, guard: Guard, ground: Ground, clock: Clock, hold: float) -> Fault:
    """The fault that is wished.

    Raises:
        Conflict, Forbidden: a process ended meanwhile, or is not ours to signal.
    """
    if wish.injected:
        said = injection(wish.fault, scene.service.name, seconds=hold, delay=wish.delay or DELAY, percent=wish.percent)
        return Injected(ground, said, clock)
    leaders = [leader(scene.service.name, one.instance, ground.settings) for one in scene.victims]
    if wish.fault == "kill":
        return Killed(leaders)
    made = Paused if wish.fault == "pause" else Stuttering
    return made(leaders, guard, clock)


def _aims(scene: Scene, wish: Wish) -> Sequence[Aim]:
    if wish.path is None and not wish.mesh:
        return list(candidates(scene.service, scene.routes, scene.gateway, scene.mesh))
    if scene.service.protocol is Protocol.TCP and wish.mesh:
        raise InvalidValue(f"{scene.service.name} speaks tcp, not HTTP", field="mesh")
    place = scene.mesh if wish.mesh else scene.gateway
    if place is None:
        raise Unreachable("no node says where to send requests", hint="`atoll doctor` shows what is wrong")
    if wish.path is None:
        return [mesh_aim(scene.service, place)]
    if not wish.path.startswith("/"):
        raise InvalidValue(f"--path {wish.path[:80]!r} does not begin with /", field="path")
    if wish.mesh:
        return [by_path(wish.path, place, way="mesh", host=str(scene.service.name))]
    return [by_path(wish.path, place, way="the gateway")]


def _tell(invocation: Invocation, report: DrillReport, path: Path) -> None:
    show = invocation.show
    if show.as_json:
        show.json(facts.plain(report))
        return
    show_report(invocation, report)
    try:
        shown = path.relative_to(invocation.base)
    except ValueError:
        shown = path
    invocation.talk.note(f"report: {shown}")
    sys.stdout.flush()


def show_report(invocation: Invocation, report: DrillReport) -> None:
    """A report for people."""
    show, verdict = invocation.show, report.verdict
    whom = report.target if report.target == report.service else f"{report.target} of {report.service}"
    show.text(f"{report.fault} {whom}: {report.summary}")
    show.fields(
        words.details(
            verdict,
            target=report.target,
            fault=report.fault,
            wanted=report.of,
            signalled=bool(report.instances),
        )
    )
    for one in verdict.promises:
        show.text(words.promise(one))
