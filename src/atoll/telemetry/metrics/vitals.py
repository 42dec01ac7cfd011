"""What instances use, as their nodes measure it: processor, memory, descriptors, start; no code in the service.

The names are the usual ones of Prometheus' clients; `job` is `node`, so that what a service says of itself under the
same names is another series. An instance that is gone is marked stale. Processor time never goes back while an
instance runs, though processes of its that end take theirs along.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from atoll.errors import AtollError
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.model.report import ChildReport, NodeReport
from atoll.telemetry.metrics.book import Book, Shape
from atoll.telemetry.metrics.entry import Entry
from atoll.telemetry.metrics.intake import Intake
from atoll.telemetry.metrics.names import Kind
from atoll.telemetry.metrics.points import Points
from atoll.telemetry.metrics.rows import About

INTERVAL = 10.0
"""Seconds between two looks."""
JOB = "node"
CPU = About(
    "process_cpu_seconds_total", Kind.COUNTER, "seconds", "Processor time, user and system, of all its processes."
)
MEMORY = About("process_resident_memory_bytes", Kind.GAUGE, "bytes", "Resident memory of all its processes.")
DESCRIPTORS = About("process_open_fds", Kind.GAUGE, "", "Open descriptors of all its processes.")
STARTED = About("process_start_time_seconds", Kind.GAUGE, "seconds", "When it was started, since 1970.")
RESTARTS = About("atoll_instance_restarts_total", Kind.COUNTER, "", "Times that its node started it again.")
Nodes = Callable[[], Awaitable[Sequence[NodeReport]]]
log = Log("vitals")


@dataclass
class Spent:
    """Processor time of one run of an instance: what was read last, and the sum that only grows."""

    pid: int
    read: float
    total: float


class Vitals:
    """Writes the figures of every child that nodes report. One user."""

    def __init__(self) -> None:
        self._spent: dict[tuple[str, str, str], Spent] = {}
        self._live: dict[int, Entry] = {}

    def take(self, book: Book, reports: Sequence[NodeReport], at: int) -> None:
        """Write what is reported at `at` (milliseconds), and the end of what is not any more."""
        points = Points(book, oldest=0)
        live: dict[int, Entry] = {}
        running: set[tuple[str, str, str]] = set()
        for report in reports:
            for child in report.children:
                if child.pid is None:
                    continue
                who = (str(child.service), str(child.instance), str(report.node))
                running.add(who)
                self._write(book, live, who, at, self._figures(who, child))
        for key in self._live.keys() - live.keys():
            points.ended(self._live[key], at)
        self._live = live
        self._spent = {who: spent for who, spent in self._spent.items() if who in running}
        book.finish()

    def _figures(self, who: tuple[str, str, str], child: ChildReport) -> list[tuple[About, float]]:
        assert child.pid is not None
        figures = [(STARTED, child.started), (RESTARTS, float(child.restarts))]
        if not child.memory:
            return figures  # not measured yet
        spent = self._spent.get(who)
        if spent is None or spent.pid != child.pid:
            spent = self._spent[who] = Spent(child.pid, child.cpu_seconds, child.cpu_seconds)
        spent.total += max(0.0, child.cpu_seconds - spent.read)
        spent.read = child.cpu_seconds
        return [*figures, (CPU, spent.total), (MEMORY, float(child.memory)), (DESCRIPTORS, float(child.descriptors))]

    def _write(
        self,
        book: Book,
        live: dict[int, Entry],
        who: tuple[str, str, str],
        at: int,
        figures: Sequence[tuple[About, float]],
    ) -> None:
        service, instance, node = who
        own = {"service": service, "instance": instance, "job": JOB, "node": node}
        for about, value in figures:
            key = hash(("vitals", about.family, *who))

            def make(shared: dict[str, str] | None, name: str = about.family) -> list[tuple[str, dict[str, str]]]:
                return [(name, own if shared is None else shared)]

            entry = book.find(key) or book.enter(key, about, own, Shape(), make)
            if entry is not None and not entry.overflow:
                book.rows.sample(about.family, entry.ids[0], at, value)
                live[key] = entry


async def _watch(intake: Intake, nodes: Nodes, clock: Clock) -> None:
    vitals = Vitals()
    while True:
        try:
            reports = await nodes()
            at = int(clock.wall() * 1000)
            await intake.take(lambda book, reports=reports, at=at: vitals.take(book, reports, at))  # type: ignore[misc]
        except AtollError as error:
            log.debug("vitals were not taken", reason=error.code)
        await clock.sleep(INTERVAL)


@asynccontextmanager
async def watching(intake: Intake, nodes: Nodes, clock: Clock) -> AsyncIterator[None]:
    """Take the figures that `nodes` reports, every ten seconds, for the length of the block."""
    async with owned("vitals") as tasks:
        tasks.start("watch", _watch(intake, nodes, clock))
        yield
