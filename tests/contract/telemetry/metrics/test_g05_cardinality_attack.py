"""G5: ever new label values, metric names and service names. Memory stays bounded, totals stay right, it is shown."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from atoll.kit.clock import SystemClock
from atoll.settings import Telemetry
from atoll.telemetry.metrics.intake import taking
from atoll.telemetry.metrics.otlp import Sink
from atoll.telemetry.metrics.series import Matcher, Op
from atoll.telemetry.metrics.source import Source
from atoll.telemetry.pool import EnginePool
from tests.unit.telemetry.metrics import otlp_bodies as otlp

GROWTH = 192
"""MiB that an attack may cost: batches in progress, the book (40), the engine's first inserts, what the allocator keeps."""


def memory() -> float:
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("RssAnon")).split()[1]) / 1024


def body(first: int, count: int, each: int, at: int) -> bytes:
    points = [otlp.number(each, at, user=f"user-{first + no}") for no in range(count)]
    return otlp.body(otlp.counter("logins", *points), resource={"service.name": "attacked"})


@pytest.mark.parametrize("users", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_ever_new_users_names_and_services_stay_bounded_and_add_up(pool: EnginePool, users: int) -> None:
    limit = users // 2
    now = int(SystemClock().wall() * 1000) - 60_000
    gc.collect()
    before = memory()
    async with taking(pool, SystemClock(), Telemetry(flush=0.02, series=limit)) as intake:
        sink = Sink(intake, days=30)
        for round_, each in enumerate((1, 3)):
            for first in range(0, users, 5000):
                assert (await sink.write(body(first, 5000, each, now + round_ * 1000))).points == 0
        names = [otlp.gauge(f"made.up.{no}", otlp.number(1.0, now)) for no in range(users // 5)]
        refused = await sink.write(otlp.body(*names, resource={"service.name": "attacked"}))
        for no in range(20):
            metrics = otlp.gauge("honest", otlp.number(1.0, now))
            await sink.write(otlp.body(metrics, resource={"service.name": f"{no}-other"}))
        figures = intake.figures()
        assert memory() - before < GROWTH
    found = await Source(pool).select([Matcher("__name__", Op.EQUAL, "logins_total")], now, now + 60_000)
    assert sum(one.values[-1] for one in found) == 3 * users
    assert len(found) == limit // 10 + 1
    overflow = [one for one in found if ("otel_metric_overflow", "true") in one.labels]
    assert len(overflow) == 1
    assert refused.points == users // 5 - limit // 50 + 1
    assert figures["series"] <= limit
    assert figures["overflowed logins_total"] > 0
    assert intake.warning.startswith("metrics have more series")
    honest = await Source(pool).select([Matcher("__name__", Op.EQUAL, "honest")], now, now + 60_000)
    assert len(honest) == 20
