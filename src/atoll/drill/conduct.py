"""Conducts one drill: load, looks, the fault, its end, and the wait until all is right again; gives the history.

Promises that the fault is undone when this returns or raises, whatever the reason. Decides nothing: `judge` does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from atoll.drill.aim import Aim
from atoll.drill.fault import Fault
from atoll.drill.history import History, Look
from atoll.drill.load import Load, ask_once
from atoll.drill.looks import EVERY, Looks
from atoll.errors import NotReady
from atoll.gateway.runtime import Runtime, Unanswered
from atoll.kit.clock import Clock
from atoll.kit.tasks import owned

BEFORE = 0.2
"""Part of the load's time that passes before the fault, so that what is usual is known."""
FULL_WITHIN = 20.0
"""Seconds after the load within which the full number of instances must serve again."""
CALM = 0.3
"""Seconds that it must stay so."""
AIM_TIMEOUT = 3.0
"""Seconds for one try of a candidate."""

Say = Callable[[str], None]


class Conductor:
    """Runs drills against the HAProxy behind one runtime socket; `say` is told what happens.

    `traced`: somebody keeps traces, so requests shall have some.
    """

    def __init__(self, socket: Path, clock: Clock, say: Say, *, traced: bool = False) -> None:
        self._socket = socket
        self._traced = traced
        self._clock = clock
        self._say = say

    async def take_aim(self, candidates: Sequence[Aim]) -> Aim:
        """The first candidate that is answered well (below 400); else the first that the service itself answers.

        Raises:
            NotReady: none is answered by the service.
        """
        second: Aim | None = None
        for aim in candidates:
            asked = await ask_once(aim, self._clock, timeout=AIM_TIMEOUT)
            if not asked.lost and asked.status < 400:
                return msgspec.structs.replace(aim, traced=self._traced)
            if not asked.lost and not asked.code and second is None:
                second = aim
        if second is None:
            tried = ", ".join(aim.text for aim in candidates) or "nothing leads to it"
            raise NotReady(f"no request is answered before the drill ({tried})", hint="give a path with --path")
        return msgspec.structs.replace(second, traced=self._traced)

    async def conduct(
        self,
        fault: Fault,
        aim: Aim | None,
        *,
        victims: Collection[str],
        endpoints: Collection[tuple[str, int]],
        rate: float,
        duration: float,
        hold: float,
    ) -> History:
        """Make `fault` in the middle of a load and record what follows.

        `hold`: seconds until an undoable fault is undone. Without an `aim` nothing is asked, only looked at.

        Raises:
            NotReady: HAProxy does not have the instances, or does not answer.
        """
        clock = self._clock
        began = clock.now()
        looks = Looks(Runtime(self._socket, clock), clock, began)
        await self._find(looks, endpoints)
        load = Load(aim, clock, rate=rate, began=began) if aim is not None else None
        undone_at: float | None = None
        async with owned("drill") as tasks:
            watching = tasks.start("looks", looks.run())
            loading = tasks.start("load", load.run(duration) if load is not None else clock.sleep(duration))
            await clock.sleep(max(1.0, BEFORE * duration))
            before = looks.seen[-1] if looks.seen else Look(0.0, (), 0)
            targets = tuple(one.name for one in before.servers if one.serving and one.instance in victims)
            wanted = sum(one.serving for one in before.servers)
            fault_at = clock.now() - began
            try:
                await fault.begin()
                self._say(f"{fault_at:4.1f}s  the fault is there")
                if fault.undoable:
                    await fault.last(hold)
            finally:
                await fault.end()
            if fault.undoable:
                undone_at = clock.now() - began
                self._say(f"{undone_at:4.1f}s  the fault is undone")
            await loading
            await self._until_full(looks, wanted)
            watching.cancel()
        return History(
            requests=tuple(sorted(load.requests, key=lambda one: one.start)) if load is not None else (),
            looks=tuple(looks.seen),
            unsent=load.unsent if load is not None else 0,
            fault_at=fault_at,
            undone_at=undone_at,
            targets=targets,
            silent=fault.silent,
            wanted=wanted,
        )

    async def _find(self, looks: Looks, endpoints: Collection[tuple[str, int]]) -> None:
        try:
            sections = await looks.find(endpoints)
        except Unanswered as error:
            raise NotReady(f"HAProxy does not answer: {error}", hint="`atoll doctor` shows what is wrong") from None
        if not sections:
            raise NotReady("HAProxy has none of its instances", hint="wait for it: `atoll wait`")

    async def _until_full(self, looks: Looks, wanted: int) -> None:
        clock = self._clock
        end, since = clock.now() + FULL_WITHIN, clock.now()
        while clock.now() < end and clock.now() - since < CALM:
            await clock.sleep(EVERY)
            if not looks.seen or sum(one.serving for one in looks.seen[-1].servers) < wanted:
                since = clock.now()
