"""Metrics that came after quiet waited a whole second for their commit, and with them each service that sent its last
ones before it ended: `atoll down` took a second more for every step of dependencies.
"""

from __future__ import annotations

import asyncio

from atoll.settings import Telemetry
from atoll.telemetry.metrics.intake import taking
from atoll.telemetry.metrics.otlp import Sink
from atoll.testing import FakeClock
from tests.unit.telemetry.metrics import otlp_bodies as otlp
from tests.unit.telemetry.metrics.stage import Memory

BODY = otlp.body(otlp.counter("orders", otlp.number(7)))


class Hurrying(FakeClock):
    """Who sleeps is awake again at once, and the time has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.stall(seconds)
        await asyncio.sleep(0)


async def test_metrics_that_come_after_quiet_are_committed_at_once_and_steady_ones_at_the_pace_of_the_other_signals() -> (
    None
):
    clock = Hurrying()
    async with taking(Memory(), clock, Telemetry(flush=1.0)) as intake:
        door = Sink(intake, days=30)
        for _ in range(8):
            assert (await door.write(BODY)).accepted == 1
    assert len(clock.slept) == 8
    assert clock.slept[0] <= 0.1
    assert sum(clock.slept[:3]) <= 0.3
    assert sum(clock.slept[4:]) >= 4 * 0.4
