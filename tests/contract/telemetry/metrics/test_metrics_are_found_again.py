"""What OTLP brought is found in the engine: by every kind of matcher, with every bit of its values."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from atoll.errors import InvalidValue
from atoll.kit.clock import SystemClock
from atoll.settings import Telemetry
from atoll.telemetry.metrics import storage
from atoll.telemetry.metrics.intake import Intake, taking
from atoll.telemetry.metrics.otlp import Sink
from atoll.telemetry.metrics.rows import Rows
from atoll.telemetry.metrics.series import STALE_NAN, Matcher, Op, is_stale
from atoll.telemetry.pool import EnginePool
from tests.unit.telemetry.metrics import otlp_bodies as otlp

HOUR = 3_600_000


@pytest.fixture
async def intake(pool: EnginePool) -> AsyncIterator[Intake]:
    async with taking(pool, SystemClock(), Telemetry(flush=0.01)) as intake:
        yield intake


@pytest.fixture
def sink(intake: Intake) -> Sink:
    return Sink(intake, days=30)


def now() -> int:
    return int(SystemClock().wall() * 1000)


def name(word: str, op: str = "=") -> Matcher:
    return Matcher("__name__", Op(op), word)


async def found(pool: EnginePool, *matchers: Matcher) -> list[dict[str, Any]]:
    series = await storage.select(pool, matchers, now() - HOUR, now() + HOUR)
    return [{**dict(one.labels), "values": one.values.tolist()} for one in series]


async def test_a_counter_is_there_when_its_body_is_answered(pool: EnginePool, sink: Sink) -> None:
    rejected = await sink.write(otlp.body(otlp.counter("orders.placed", otlp.number(7, now(), region="north"))))
    assert rejected.points == 0
    assert await found(pool, name("orders_placed_total")) == [
        {
            "__name__": "orders_placed_total", "service": "orders", "job": "orders", "instance": "orders-1",
            "region": "north", "values": [7.0],
        }
    ]  # fmt: skip


HOSTILE = 'it\'s "q" \\ \n\t\x00 %[ ${HOME} ; \x1b[31m }{ é'


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        (Matcher("a", Op.EQUAL, "x"), {"1"}),
        (Matcher("a", Op.EQUAL, ""), {"3", "4"}),
        (Matcher("a", Op.NOT_EQUAL, ""), {"1", "2"}),
        (Matcher("a", Op.NOT_EQUAL, "x"), {"2", "3", "4"}),
        (Matcher("a", Op.MATCHES, "x"), {"1"}),
        (Matcher("a", Op.MATCHES, "x.*"), {"1", "2"}),
        (Matcher("a", Op.MATCHES, "y"), set()),
        (Matcher("a", Op.MATCHES, "x|xyz"), {"1", "2"}),
        (Matcher("a", Op.MATCHES, ".*"), {"1", "2", "3", "4"}),
        (Matcher("a", Op.MATCHES, ".+"), {"1", "2"}),
        (Matcher("a", Op.MATCHES_NOT, ".+"), {"3", "4"}),
        (Matcher("a", Op.MATCHES_NOT, "x"), {"2", "3", "4"}),
        (Matcher("none", Op.EQUAL, ""), {"1", "2", "3", "4"}),
        (Matcher("none", Op.MATCHES, "x?"), {"1", "2", "3", "4"}),
        (Matcher("b", Op.EQUAL, HOSTILE), {"4"}),
        (Matcher("b", Op.MATCHES, "it's.*\\\\ \n.*é"), {"4"}),
        (Matcher("b'] = 1 OR 1 --", Op.EQUAL, ""), {"1", "2", "3", "4"}),
        (Matcher("b", Op.EQUAL, "' OR 1=1 --"), set()),
    ],
)
async def test_matchers_mean_what_they_mean_in_prometheus(
    pool: EnginePool, sink: Sink, matcher: Matcher, expected: set[str]
) -> None:
    points = [
        otlp.number(1.0, now(), no="1", a="x"),
        otlp.number(1.0, now(), no="2", a="xyz"),
        otlp.number(1.0, now(), no="3"),
        otlp.number(1.0, now(), no="4", a="", b=HOSTILE),
    ]
    await sink.write(otlp.body(otlp.gauge("level", *points)))
    assert {one["no"] for one in await found(pool, name("level"), matcher)} == expected


async def test_metrics_are_found_by_a_pattern_of_their_name(pool: EnginePool, sink: Sink) -> None:
    metrics = [otlp.gauge(word, otlp.number(1.0, now())) for word in ("disk.free", "disk.used", "memory")]
    await sink.write(otlp.body(*metrics))
    assert [one["__name__"] for one in await found(pool, name("disk_.*", "=~"))] == ["disk_free", "disk_used"]
    assert [one["__name__"] for one in await found(pool, name("disk_.*", "!~"), name("target_info", "!="))] == [
        "memory"
    ]


async def test_a_pattern_that_cannot_be_read_is_a_wrong_value(pool: EnginePool, sink: Sink) -> None:
    await sink.write(otlp.body(otlp.gauge("level", otlp.number(1.0, now()))))
    with pytest.raises(InvalidValue, match="missing"):
        await storage.select(pool, [name("le(vel", "=~")], 0, now())


async def test_every_bit_of_a_value_is_kept(pool: EnginePool, intake: Intake) -> None:
    values = [1.0, STALE_NAN, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1]
    at = now() - 60_000
    await intake.take(lambda book: _write(book.rows, at, values))
    table = await pool.arrow("SELECT Value FROM samples ORDER BY Timestamp")
    assert table["Value"].to_numpy().view(np.uint64).tolist() == np.array(values).view(np.uint64).tolist()
    assert is_stale(table["Value"].to_numpy()).tolist() == [False, True] + [False] * 7


async def test_bits_are_kept_when_parts_are_merged(pool: EnginePool, intake: Intake) -> None:
    at = now() - 60_000
    for offset, value in enumerate((1.0, STALE_NAN, 2.0)):
        await intake.take(lambda book, offset=offset, value=value: _write(book.rows, at + offset, [value]))  # type: ignore[misc]
    await pool.command("OPTIMIZE TABLE samples FINAL")
    table = await pool.arrow("SELECT Value FROM samples ORDER BY Timestamp")
    assert is_stale(table["Value"].to_numpy()).tolist() == [False, True, False]


def _write(rows: Rows, at: int, values: list[float]) -> None:
    for offset, value in enumerate(values):
        rows.sample("bits", 1, at + offset, value)


async def test_a_native_histogram_comes_back_as_it_was_sent(pool: EnginePool, sink: Sink) -> None:
    at = now()
    point = otlp.powers([3, 0, 4], -2, 3, 12.5, at, zero=2)
    await sink.write(otlp.body(otlp.exponential("took", point)))
    (series,) = await storage.select(pool, [name("took_seconds")], at - 1, at + 1)
    assert series.histograms is not None
    (found,) = series.histograms
    assert found is not None
    assert (found.schema, found.count, found.sum, found.zero_count) == (3, 9.0, 12.5, 2.0)
    assert (found.positive_offset, found.positive.tolist()) == (
        -1,
        [3.0, 0.0, 4.0],
    )  # Prometheus' index: OTLP's plus one


async def test_the_end_of_a_native_histogram_is_marked_between_its_samples(pool: EnginePool, sink: Sink) -> None:
    at = now() - 10_000
    for offset, ended in enumerate((False, True, False)):
        point = otlp.powers([1], 0, 0, 1.0, at + offset)
        point.flags = int(ended)
        await sink.write(otlp.body(otlp.exponential("took", point)))
    (series,) = await storage.select(pool, [name("took_seconds")], at, at + 5)
    assert series.histograms is not None
    assert [one is None for one in series.histograms] == [False, True, False]
    assert is_stale(series.values).tolist() == [False, True, False]


async def test_what_is_sent_twice_is_there_once(pool: EnginePool, sink: Sink) -> None:
    same = otlp.body(otlp.counter("orders", otlp.number(7, now())))
    assert [(await sink.write(same)).points for _ in range(3)] == [0, 0, 0]
    assert [one["values"] for one in await found(pool, name("orders_total"))] == [[7.0]]


async def test_samples_of_many_series_come_cut_into_series_and_in_order(pool: EnginePool, sink: Sink) -> None:
    at = now() - 10_000
    for offset in (3, 1, 2):
        points = [otlp.number(float(no * 10 + offset), at + offset, no=f"{no:02}") for no in range(20)]
        await sink.write(otlp.body(otlp.gauge("level", *points)))
    series = await storage.select(pool, [name("level")], at + 2, at + 3)
    assert [one.values.tolist() for one in series] == [[no * 10 + 2.0, no * 10 + 3.0] for no in range(20)]
    assert all(one.timestamps.tolist() == [at + 2, at + 3] for one in series)


async def test_names_values_and_metadata_are_told(pool: EnginePool, sink: Sink) -> None:
    await sink.write(otlp.body(otlp.gauge("memory.free", otlp.number(1.0, now(), zone="a"), unit="By")))
    assert await storage.label_names(pool, [], now()) == ["__name__", "instance", "job", "service", "zone"]
    assert await storage.label_values(pool, "zone", [], now()) == ["a"]
    assert await storage.label_values(pool, "__name__", [], now()) == ["memory_free_bytes"]
    assert await storage.label_values(pool, "zone", [Matcher("job", Op.EQUAL, "other")], now()) == []
    assert await storage.metadata(pool) == [storage.Metadata("memory_free_bytes", "gauge", "bytes", "What it is.")]
    assert await storage.metadata(pool, family="other") == []


async def test_an_exemplar_leads_from_a_bucket_to_its_trace(pool: EnginePool, sink: Sink) -> None:
    point = otlp.buckets([1, 1], [0.5], 2.5, now())
    exemplar = point.exemplars.add()
    exemplar.as_double, exemplar.time_unix_nano = 2.0, now() * 1_000_000
    exemplar.trace_id, exemplar.span_id = bytes(range(16)), bytes(range(8))
    await sink.write(otlp.body(otlp.histogram("took", point)))
    (one,) = await storage.exemplars(pool, [name("took_seconds_bucket")], 0, now() + 1)
    assert dict(one.series)["le"] == "+Inf"
    assert dict(one.labels)["trace_id"] == bytes(range(16)).hex()
    assert one.value == 2.0
