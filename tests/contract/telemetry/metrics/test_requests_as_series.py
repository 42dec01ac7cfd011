"""The gateway's roll-up told as counters and histograms: labels, matchers, buckets, exemplars."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atoll.kit.clock import SystemClock
from atoll.telemetry.engine import Insert
from atoll.telemetry.metrics import red
from atoll.telemetry.metrics.series import Matcher, Op
from atoll.telemetry.metrics.source import Source
from atoll.telemetry.pool import EnginePool
from tests.contract.telemetry.promql.asking import answered, client

HOUR = 3_600_000


@pytest.fixture
async def at(pool: EnginePool) -> int:
    """Milliseconds: the begin of ten seconds, some minutes ago; there were requests in it, and later ones."""
    begin = int(SystemClock().wall()) // 10 * 10 - 600
    if begin % 86_400 < 700:  # the zero of midnight is another test's
        begin -= 1400
    rows = [
        row(begin, "orders", 200, {"1000": 3, "250000": 1}, 0.51),
        row(begin + 20, "orders", 200, {"1000": 2}, 0.01),
        row(begin + 20, "orders", 503, {"100000000": 1}, 120.0),
        row(begin + 20, "cart", 200, {"0": 4}, 0.0004, edge="mesh", caller="orders", route=""),
    ]
    await pool.insert(Insert(table="requests", format="JSONEachRow", data=[json.dumps(one).encode() for one in rows]))
    return begin * 1000


def row(time: int, service: str, status: int, buckets: dict[str, int], seconds: float, **said: Any) -> dict[str, Any]:
    return {
        "Time": time, "Edge": said.get("edge", "gateway"), "Service": service, "Route": said.get("route", "api"),
        "Instance": f"{service}-1", "Caller": said.get("caller", ""), "Method": "GET", "Status": status,
        "Count": sum(buckets.values()), "DurationSum": round(seconds * 1e6), "Buckets": buckets,
    }  # fmt: skip


def name(word: str, op: str = "=") -> Matcher:
    return Matcher("__name__", Op(op), word)


async def test_requests_are_a_counter_with_the_labels_of_what_they_were_for(pool: EnginePool, at: int) -> None:
    found = await Source(pool).select([name(red.TOTAL), Matcher("service", Op.EQUAL, "orders")], at, at + 40_000)
    assert {dict(one.labels)["code"]: one.values.tolist() for one in found} == {
        "200": [0.0, 4.0, 4.0, 6.0, 6.0],
        "503": [0.0, 1.0, 1.0],
    }
    assert found[0].labels == (
        ("__name__", red.TOTAL), ("code", "200"), ("edge", "gateway"), ("instance", "orders-1"), ("method", "GET"),
        ("route", "api"), ("service", "orders"),
    )  # fmt: skip
    assert found[0].timestamps.tolist() == [at, at + 10_000, at + 20_000, at + 30_000, at + 40_000]


async def test_durations_are_a_histogram_whose_buckets_count_up_to_all(pool: EnginePool, at: int) -> None:
    matchers = [name("atoll_request_duration_seconds.*", "=~"), Matcher("service", Op.EQUAL, "orders")]
    found = await Source(pool).select(matchers, at, at + 40_000)
    last: dict[tuple[str, str, str], float] = {}
    for one in found:
        labels = dict(one.labels)
        last[labels["__name__"], labels["code"], labels.get("le", "")] = one.values[-1]
    assert last[red.COUNT, "200", ""] == 6
    assert last[red.SUM, "200", ""] == pytest.approx(0.52)
    assert last[red.BUCKET, "200", "0.001"] == 0
    assert last[red.BUCKET, "200", "0.0016"] == 5
    assert last[red.BUCKET, "200", "0.25"] == 5
    assert last[red.BUCKET, "200", "0.4"] == 6
    assert last[red.BUCKET, "200", "+Inf"] == 6
    assert (last[red.BUCKET, "503", "63"], last[red.BUCKET, "503", "+Inf"]) == (0, 1)
    assert len(found) == 2 * (2 + len(red.BOUNDS) + 1)


@pytest.mark.parametrize(
    ("matchers", "expected"),
    [
        ([Matcher("service", Op.MATCHES, "ord.*")], {("orders", "200"), ("orders", "503")}),
        ([Matcher("code", Op.MATCHES, "5..")], {("orders", "503")}),
        ([Matcher("code", Op.NOT_EQUAL, "200")], {("orders", "503")}),
        ([Matcher("edge", Op.EQUAL, "mesh")], {("cart", "200")}),
        ([Matcher("caller", Op.EQUAL, "orders")], {("cart", "200")}),
        ([Matcher("caller", Op.EQUAL, "")], {("orders", "200"), ("orders", "503")}),
        ([Matcher("other", Op.EQUAL, "")], {("orders", "200"), ("orders", "503"), ("cart", "200")}),
        ([Matcher("other", Op.NOT_EQUAL, "")], set()),
        ([Matcher("service", Op.EQUAL, "' OR 1=1 --")], set()),
        ([Matcher("le", Op.NOT_EQUAL, "")], set()),
    ],
)
async def test_matchers_choose_among_requests(
    pool: EnginePool, at: int, matchers: list[Matcher], expected: set[tuple[str, str]]
) -> None:
    found = await Source(pool).select([name(red.TOTAL), *matchers], at, at + 40_000)
    assert {(dict(one.labels)["service"], dict(one.labels)["code"]) for one in found} == expected


async def test_one_bucket_is_asked_for_by_its_bound(pool: EnginePool, at: int) -> None:
    matchers = [name(red.BUCKET), Matcher("le", Op.EQUAL, "+Inf"), Matcher("code", Op.EQUAL, "503")]
    (one,) = await Source(pool).select(matchers, at, at + 30_000)
    assert one.values[-1] == 1


async def test_request_series_are_among_names_values_and_metadata(pool: EnginePool, at: int) -> None:
    source = Source(pool)
    end = at + HOUR
    assert red.TOTAL in await source.label_values("__name__", [], at, end)
    assert await source.label_values("service", [name(red.TOTAL)], at, end) == ["cart", "orders"]
    assert "route" in await source.label_names([], at, end)
    assert red.TOTAL in {one.family for one in await source.metadata()}
    assert len(await source.series([name(red.TOTAL)], at, at + HOUR // 2)) == 3


async def test_without_requests_there_are_no_request_series(pool: EnginePool) -> None:
    source = Source(pool)
    now = int(SystemClock().wall() * 1000)
    assert await source.select([name("atoll_request.*", "=~")], now - HOUR, now) == []
    assert await source.label_names([], now - HOUR, now) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sum by (code) (increase(atoll_requests_total{service='orders'}[1m]))", {"200": 6.0, "503": 1.0}),
        ("sum by (code) (atoll_requests_total - atoll_requests_total offset 30s)", {"200": 2.0}),
        (
            "1000 * histogram_quantile(0.5, increase(atoll_request_duration_seconds_bucket{service='orders'}[1m]))",
            {"200": 1.36, "503": 63_000.0},
        ),
    ],
)
async def test_promql_is_asked_of_requests_like_of_any_metric(
    pool: EnginePool, at: int, query: str, expected: dict[str, float]
) -> None:
    async with client(Source(pool), SystemClock()) as asked:
        found = await answered(asked, "/api/v1/query", {"query": query, "time": str(at / 1000 + 50)})
    values = {one["metric"]["code"]: float(one["value"][1]) for one in found["data"]["result"]}
    assert values == pytest.approx(expected, rel=0.21)  # rate and increase extrapolate to the ends of the range


async def test_the_newest_requests_count_before_their_ten_seconds_are_over(pool: EnginePool) -> None:
    now = int(SystemClock().wall())
    begin = now // 10 * 10
    await pool.insert(
        Insert(
            table="requests", format="JSONEachRow", data=[json.dumps(row(begin, "new", 200, {"0": 3}, 0.1)).encode()]
        )
    )
    (one,) = await Source(pool).select([name(red.TOTAL)], begin * 1000 - 60_000, now * 1000 + 1000)
    assert one.values.tolist()[0] == 0.0
    assert one.values.tolist()[-1] == 3.0
