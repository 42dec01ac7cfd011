"""What metrics cost: CPU for a sample that is sent (OTLP) or scraped, memory for 100,000 series, time of a selection.

    .venv/bin/python -m bench.telemetry_metrics

CPU is of the whole process, the engine's threads and merges included. One process, one store in a temporary folder.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from atoll.kit.clock import SystemClock
from atoll.settings import Telemetry
from atoll.telemetry.chdb import open_engine
from atoll.telemetry.metrics.book import Book
from atoll.telemetry.metrics.exposition import page_of
from atoll.telemetry.metrics.intake import taking
from atoll.telemetry.metrics.otlp import Body, Sink
from atoll.telemetry.metrics.rows import Rows
from atoll.telemetry.metrics.scraped import Scraped
from atoll.telemetry.metrics.series import Matcher, Op
from atoll.telemetry.metrics.source import Source
from atoll.telemetry.metrics.target import Target
from atoll.telemetry.pool import EnginePool

POINTS = 200
"""Points of one OTLP body, as SDKs send them."""
SENDERS = 50
ROUNDS = 6
SERIES = 100_000
HOUR = 3_600_000


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def memory() -> float:
    """MiB that are not of a file."""
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("RssAnon")).split()[1]) / 1024


def body(sender: int, at: int, *, points: int = POINTS, histograms: bool = False) -> bytes:
    said = [
        [
            KeyValue(key=key, value=AnyValue(string_value=value))
            for key, value in (("http.route", f"/r/{no}"), ("method", "GET"), ("code", "200"))
        ]
        for no in range(points)
    ]
    if histograms:
        bounds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
        made = Metric(
            name="http.server.request.duration",
            unit="s",
            histogram=Histogram(
                aggregation_temporality=2,
                data_points=[
                    HistogramDataPoint(
                        time_unix_nano=at * 10**6,
                        attributes=one,
                        explicit_bounds=bounds,
                        bucket_counts=[3] * 15,
                        count=45,
                        sum=9.5,
                    )
                    for one in said
                ],
            ),
        )
    else:
        made = Metric(
            name="http.server.requests",
            sum=Sum(
                is_monotonic=True,
                aggregation_temporality=2,
                data_points=[
                    NumberDataPoint(time_unix_nano=at * 10**6, attributes=one, as_int=at % 10**6) for one in said
                ],
            ),
        )
    resource_ = Resource(
        attributes=[
            KeyValue(key="service.name", value=AnyValue(string_value=f"service-{sender % 8}")),
            KeyValue(key="service.instance.id", value=AnyValue(string_value=f"i-{sender}")),
        ]
    )
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=resource_, scope_metrics=[ScopeMetrics(metrics=[made])])]
    ).SerializeToString()


async def rounds(what: Callable[[int], Awaitable[object]], samples: int) -> tuple[float, float]:
    """CPU µs for a sample: of the first round, and the median of the others."""
    costs = []
    for round_ in range(ROUNDS):
        began = cpu()
        await what(int(time.time() * 1000) + round_)
        costs.append((cpu() - began) / samples * 1e6)
    return costs[0], statistics.median(costs[1:])


async def timed(what: Callable[[], Awaitable[list[Any]]]) -> tuple[float, int]:
    """Median ms of five, after one for warmth, and what was found."""
    found = await what()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        await what()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), len(found)


async def main() -> None:
    told: dict[str, object] = {"book_of_100000_series_mib": book_of_series()}
    clock, knobs = SystemClock(), Telemetry(flush=0.2)
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(Path(folder), knobs)
        pool = EnginePool(engine, clock)
        empty = memory()
        async with taking(pool, clock, knobs) as intake:
            sink = Sink(intake, days=30)

            async def sums(at: int) -> None:
                await asyncio.gather(*(sink.write(body(no, at)) for no in range(SENDERS)))

            async def buckets(at: int) -> None:
                await asyncio.gather(*(sink.write(body(no, at, points=20, histograms=True)) for no in range(SENDERS)))

            bodies = [body(no, int(time.time() * 1000)) for no in range(SENDERS)]
            began = cpu()
            [body(no, 1) for no in range(SENDERS)]
            making = (cpu() - began) / (SENDERS * POINTS) * 1e6
            first, next_ = await rounds(sums, SENDERS * POINTS)
            told["otlp_sum_us_per_sample"] = {
                "new": round(first - making, 1),
                "known": round(next_ - making, 1),
                "bodies_of": POINTS,
                "bytes": len(bodies[0]),
            }
            first, next_ = await rounds(buckets, SENDERS * 20 * 17)
            told["otlp_histogram_us_per_sample"] = {
                "new": round(first, 1),
                "known": round(next_, 1),
                "samples": SENDERS * 20 * 17,
            }

            text = "".join(
                f'http_requests_total{{handler="/r/{no}",method="GET",code="200"}} {no * 3}\n' for no in range(5000)
            )
            states = [Scraped(Target(f"page-{no}", f"page-{no}", "h", 1)) for no in range(2)]

            async def scrape(at: int) -> None:
                await asyncio.gather(
                    *(
                        intake.take(
                            lambda book, state=state: state.take(book, page_of(text, openmetrics=False), at, 0.1)
                        )
                        for state in states
                    )
                )

            first, next_ = await rounds(scrape, 10_000)
            told["scrape_us_per_sample"] = {"new": round(first, 1), "known": round(next_, 1), "page_of": 5000}
            page = [0.0] * 5
            for no in range(5):
                began = cpu()
                page_of(text, openmetrics=False)
                page[no] = (cpu() - began) / 5000 * 1e6
            told["page_us_per_sample"] = round(statistics.median(page), 2)

            told["cardinality"] = {
                "series": intake.book.cardinality.series,
                "overflow": intake.book.cardinality.overflowed,
            }
            told["memory_mib"] = {"empty": round(empty), "now": round(memory())}

        source = Source(pool)
        now = int(time.time() * 1000) + 10_000
        await old_samples(pool, now)
        matchers = [Matcher("__name__", Op.EQUAL, "bench")]
        one = [*matchers, Matcher("no", Op.EQUAL, "17")]
        told["select_1_series_of_100000_ms"] = await timed(lambda: source.select(one, now - HOUR, now))
        told["select_1000_series_1h_ms"] = await timed(
            lambda: source.select([*matchers, Matcher("group", Op.EQUAL, "7")], now - HOUR, now)
        )
        told["select_pattern_ms"] = await timed(
            lambda: source.select([*matchers, Matcher("no", Op.MATCHES, "1[0-9]")], now - HOUR, now)
        )
        end = await roll_up(pool, now)
        requests = [Matcher("__name__", Op.EQUAL, "atoll_requests_total")]
        service = Matcher("service", Op.EQUAL, "s3")
        buckets_of = [Matcher("__name__", Op.EQUAL, "atoll_request_duration_seconds_bucket"), service]
        told["requests_1h_ms"] = await timed(lambda: source.select(requests, end - HOUR, end))
        told["requests_one_service_1h_ms"] = await timed(lambda: source.select([*requests, service], end - HOUR, end))
        told["request_buckets_one_service_1h_ms"] = await timed(lambda: source.select(buckets_of, end - HOUR, end))
        await pool.close()
        engine.close()
    print(json.dumps(told, indent=2))


async def old_samples(pool: EnginePool, now: int) -> None:
    """100,000 series, and an hour of samples every 15 s of the first 10,000 of them."""
    await pool.command(
        "INSERT INTO series SELECT 'bench', number, map('no', toString(number), 'group', toString(intDiv(number, 1000)), 'job', 'bench'), "
        "'bench', 'gauge', '', '', now64(3), now64(3) FROM numbers(100000)"
    )
    await pool.command(
        "INSERT INTO samples SELECT 'bench', number % 10000, "
        f"fromUnixTimestamp64Milli({now} - {HOUR} + 15000 * intDiv(number, 10000)), number FROM numbers(2400000)"
    )


async def roll_up(pool: EnginePool, now: int) -> int:
    """Yesterday: 100 kinds of requests, each in all ten seconds, 864,000 rows. Asked for at its end: the worst."""
    day = now // 86_400_000 * 86_400 - 86_400
    await pool.command(
        "INSERT INTO requests (Time, Edge, Service, Route, Instance, Method, Status, Count, DurationSum, Buckets) "
        f"SELECT toDateTime({day} + 10 * intDiv(number, 100)), 'gateway', concat('s', toString(number % 10)), 'r', "
        "concat('i', toString(number % 100)), 'GET', 200, 5, 5000, map(1000, 4, 2000, 1) FROM numbers(864000)"
    )
    return (day + 86_400) * 1000 - 1


def book_of_series() -> float:
    """MiB that 100,000 series take in the book, of 500 instances of 8 services."""
    before = memory()
    book = Book(SERIES * 10)
    for no in range(SERIES // POINTS):
        book.begin(int(time.time() * 1000))
        Body(book, oldest=HOUR).take(body(no, book.now))
        book.rows = Rows()
    assert book.cardinality.series >= SERIES, book.cardinality.series
    return round(memory() - before, 1)


if __name__ == "__main__":
    asyncio.run(main())
