"""Faults that HAProxy makes for a drill: late answers, errors, connections dropped. They strike a service, not one instance.

They are facts that end by themselves (see `atoll fault`), so nothing is left behind when the drill is killed.
"""

from __future__ import annotations

import asyncio

from atoll.drill.ground import Ground
from atoll.kit.clock import Clock
from atoll.model.answers import FaultRequest
from atoll.model.breaker import REASON_LIMIT
from atoll.model.names import ServiceName

NAME = "drill"
SPARE = 5.0
"""Seconds after which it ends by itself, when nobody takes it back."""
DELAY = 2.0
"""Seconds."""
STATUS = 503


def injection(
    kind: str, service: ServiceName, *, seconds: float, delay: float = DELAY, percent: float = 100.0
) -> FaultRequest:
    """The fault `slow`, `errors` or `partition`."""
    return FaultRequest(
        name=NAME,
        service=service,
        seconds=seconds + SPARE,
        percent=percent,
        reason=f"atoll drill {kind} {service}"[:REASON_LIMIT],
        delay=delay if kind == "slow" else 0.0,
        abort=STATUS if kind == "errors" else None,
        drop=kind == "partition",
    )


class Injected:
    """One such fault."""

    undoable = True
    silent = False

    def __init__(self, ground: Ground, fault: FaultRequest, clock: Clock) -> None:
        self._ground = ground
        self._fault = fault
        self._clock = clock
        self._begun = False

    async def begin(self) -> None:
        """Say it; the gateway hears it within milliseconds."""
        self._begun = True
        await asyncio.to_thread(self._ground.inject, self._fault)

    async def last(self, seconds: float) -> None:
        """It strikes."""
        await self._clock.sleep(seconds)

    async def end(self) -> None:
        """Take it back."""
        if self._begun:
            self._begun = False
            await asyncio.to_thread(self._ground.clear, NAME)
