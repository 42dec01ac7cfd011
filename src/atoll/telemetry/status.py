"""How telemetry is: everything it counts, as one answer and as metrics, and what of it a person should look at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from atoll import __version__
from atoll.errors import AtollError
from atoll.kit.clock import Clock, Instant
from atoll.kit.exposition import MEDIA, render
from atoll.kit.vitals import vitals
from atoll.kit.watchdog import Watchdog
from atoll.model.telemetry import Buffering, Receiving, Storing, Table, TelemetryStatus
from atoll.settings import Settings
from atoll.telemetry import figures
from atoll.telemetry.buffer import Buffer
from atoll.telemetry.engine import Limits
from atoll.telemetry.limits import Room
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.receive.intake import Intake
from atoll.telemetry.signal import Signal

TABLES_AGE = 5.0
"""Seconds for which an answer about tables and disk is used again."""
TABLES = """
SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, count() AS parts
FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table ORDER BY table
"""
FULL = 0.8
"""Share of the buffer from which senders will soon be told to come back."""
Counted = Callable[[], Mapping[str, float]]


@dataclass
class Parts:
    """What is asked. `counted`: what each of the other parts counts, by its name."""

    settings: Settings
    clock: Clock
    pool: EnginePool
    buffer: Buffer
    intake: Intake
    room: Room
    watchdog: Watchdog
    started: float = 0.0
    http_port: int = 0
    grpc_port: int = 0
    counted: dict[str, Counted] = field(default_factory=dict)
    warned: list[Callable[[], str]] = field(default_factory=list)
    """What other parts want a person to know; empty: nothing."""
    _tables: tuple[Instant, dict[str, Table], str] = (Instant(float("-inf")), {}, "")

    async def tables(self) -> tuple[dict[str, Table], str]:
        """What is on disk, and why that is not known."""
        now = self.clock.now()
        if now - self._tables[0] >= TABLES_AGE:
            found, failed = self._tables[1], ""
            try:
                rows = await self.pool.rows(TABLES, limits=Limits(seconds=2.0, memory=64 << 20, rows=1000))
                found = {
                    str(row["table"]): Table(rows=int(row["rows"]), bytes=int(row["bytes"]), parts=int(row["parts"]))
                    for row in rows
                }
            except AtollError as error:
                failed = error.detail
            self._tables = now, found, failed
        return self._tables[1], self._tables[2]


def numbers(counts: Any) -> dict[str, float]:
    """The numbers in a dataclass of counts, yes and no as 1 and 0; those of a mapping in it are named `field.key`."""
    found: dict[str, float] = {}
    for name, value in ((each.name, getattr(counts, each.name)) for each in fields(counts)):
        if isinstance(value, int | float):
            found[name] = +value
        elif isinstance(value, Mapping):
            found.update({f"{name}.{key}": +each for key, each in value.items() if isinstance(each, int | float)})
    return found


async def look(parts: Parts) -> TelemetryStatus:
    """How it is now."""
    tables, failed = await parts.tables()
    knobs, flushes, pool = parts.settings.telemetry, parts.buffer.counts, parts.pool
    bodies, size = parts.buffer.waiting
    room = parts.room
    return TelemetryStatus(
        pid=os.getpid(),
        version=__version__,
        started=parts.started,
        http_port=parts.http_port,
        grpc_port=parts.grpc_port,
        receive=_receiving(parts.intake),
        buffer=Buffering(
            bodies=bodies,
            bytes=size,
            held=room.held,
            held_most=room.most,
            limit=room.limit,
            inserts=flushes.inserts,
            inserted_bodies=flushes.bodies,
            failed=flushes.failed,
            unstorable=flushes.unstorable,
            abandoned=flushes.abandoned,
            insert_seconds=round(flushes.seconds, 3),
            last_insert_age=parts.clock.wall() - flushes.last if flushes.last else None,
        ),
        engine=Storing(
            kind="clickhouse" if knobs.clickhouse else "chdb",
            inserts=pool.writing.done,
            insert_errors=pool.writing.failed,
            queries=pool.reading.done,
            query_errors=pool.reading.failed,
            refused=pool.writing.refused + pool.reading.refused,
            disk_bytes=sum(table.bytes for table in tables.values()),
            disk_limit=knobs.disk_bytes,
            tables=tables,
            failed=failed,
        ),
        parts={name: dict(counted()) for name, counted in parts.counted.items()},
        memory=vitals([os.getpid()]).memory,
        loop_lag=parts.watchdog.lag,
        warnings=_warnings(parts, failed),
    )


def _receiving(intake: Intake) -> Receiving:
    counts = intake.counts
    rejected: dict[str, dict[str, int]] = {}
    for (signal, reason), count in counts.rejected.items():
        rejected.setdefault(str(signal), {})[reason] = count
    return Receiving(
        requests={f"{signal} {way}": count for (signal, way), count in counts.requests.items()},
        accepted=_by_name(counts.accepted),
        rejected=rejected,
        refused=dict(counts.refused),
        bytes=_by_name(counts.bytes),
        in_progress=counts.in_progress,
    )


def _by_name(counter: Counter[Signal]) -> dict[str, int]:
    return {str(signal): count for signal, count in counter.items()}


def _warnings(parts: Parts, failed: str) -> tuple[str, ...]:
    found = [parts.watchdog.warning, *(warned() for warned in parts.warned)]
    if parts.room.held > FULL * parts.room.limit:
        share = 100 * parts.room.held // parts.room.limit
        found.append(f"the buffer is {share} % full: senders are about to be told to come back")
    if failed:
        found.append(f"the engine does not answer: {failed}")
    return tuple(text for text in found if text)


def routes(parts: Parts) -> list[BaseRoute]:
    """For the query application."""

    async def status(_: Request) -> Response:
        return Response(msgspec.json.encode(await look(parts)), media_type="application/json")

    async def metrics(_: Request) -> Response:
        return Response(render(figures.families(await look(parts))), media_type=MEDIA)

    return [
        Route("/api/v1/telemetry/status", status, methods=["GET"]),
        Route("/api/v1/telemetry/metrics", metrics, methods=["GET"]),
    ]
