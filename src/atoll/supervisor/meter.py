"""What children use: processor, memory, descriptors, lines. Measured once a second, and only while somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from atoll.kit.clock import Clock
from atoll.model.names import InstanceId
from atoll.model.report import ChildReport
from atoll.supervisor import processes, record
from atoll.supervisor.child import Child
from atoll.supervisor.record import Places

INTERVAL = 1.0
"""Seconds between two measurements."""
ASKED_FOR = 5.0
"""Seconds after a question in which measuring goes on."""


@dataclass(frozen=True)
class Reading:
    """One measurement of one instance; `percent` of one core since the one before."""

    pid: int
    percent: float
    usage: processes.Usage
    lines_cut: int
    lines_dropped: int


class Meter:
    """Reads the process table in a thread; reports get the latest reading."""

    def __init__(self, places: Places, clock: Clock) -> None:
        self._places = places
        self._clock = clock
        self._readings: dict[InstanceId, Reading] = {}
        self._at = 0.0
        self._asked = float("-inf")

    async def run(self, children: Callable[[], Mapping[InstanceId, Child | None]]) -> None:
        """Measure until cancelled."""
        while True:
            now = self._clock.now()
            if now - self._asked <= ASKED_FOR:
                alive = {one: (child.keeper, child.pid) for one, child in children().items() if child is not None}
                self._readings = await asyncio.to_thread(self._measure, alive, now - self._at)
                self._at = now
            await self._clock.sleep(INTERVAL)

    def filled(self, report: ChildReport) -> ChildReport:
        """The report with the latest reading of the same process in it."""
        self._asked = self._clock.now()
        reading = self._readings.get(report.instance)
        if reading is None or reading.pid != report.pid:
            return report
        return msgspec.structs.replace(
            report,
            cpu=reading.percent,
            cpu_seconds=round(reading.usage.cpu, 2),
            memory=reading.usage.memory,
            descriptors=reading.usage.descriptors,
            lines_cut=reading.lines_cut,
            lines_dropped=reading.lines_dropped,
        )

    def _measure(self, alive: Mapping[InstanceId, tuple[int, int]], elapsed: float) -> dict[InstanceId, Reading]:
        table = processes.table() if alive else {}
        readings = {}
        for instance, (keeper, pid) in alive.items():
            used = processes.usage(processes.below(keeper, table))
            before = self._readings.get(instance)
            percent = 0.0
            if before is not None and before.pid == pid and elapsed > 0:
                percent = round(max(0.0, used.cpu - before.usage.cpu) / elapsed * 100, 1)
            cut, dropped = record.counters(self._places, instance)
            readings[instance] = Reading(pid, percent, used, cut, dropped)
        return readings
