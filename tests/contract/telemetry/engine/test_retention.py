"""Ages, sizes and kept traces, on the real engine."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from atoll.kit.clock import SystemClock
from atoll.settings import Tail, Telemetry
from atoll.telemetry import otlp, tail
from atoll.telemetry.ages import ages
from atoll.telemetry.engine import Engine
from atoll.telemetry.keeping import Keeper
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.retention import Retention
from atoll.testing import FakeClock
from tests.contract.telemetry.bodies import add_span, record, span

DAY = 86_400
NOBODY = Tail(slow=0, share=0)


def keeper(pool: EnginePool, knobs: Tail, quiet: float = 0) -> Keeper:
    return Keeper(pool, tail.read(knobs), quiet=quiet)


async def kept(pool: EnginePool) -> list[str]:
    rows = await pool.rows("SELECT hex(TraceId) AS trace, hex(SpanId) AS span FROM kept_spans ORDER BY trace, span")
    return [f"{row['trace'][-2:]}/{row['span'][-2:]}" for row in rows]


async def send(pool: EnginePool, trace: int, number: int, **fields: object) -> None:
    request = span(trace_id=bytes(15) + bytes([trace]), span_id=bytes(7) + bytes([number]), **fields)
    await pool.insert(otlp.traces([request.SerializeToString()]))


async def test_a_trace_with_an_error_is_kept_whole_and_once(pool: EnginePool) -> None:
    await send(pool, 1, 1)
    await send(pool, 1, 2, status=2)
    await send(pool, 2, 1)
    for _ in range(2):
        await keeper(pool, NOBODY).look()
    assert await kept(pool) == ["01/01", "01/02"]


async def test_a_late_span_joins_its_kept_trace_and_a_late_error_brings_its_trace(pool: EnginePool) -> None:
    await send(pool, 1, 1, status=2)
    await send(pool, 2, 1)
    await keeper(pool, NOBODY).look()
    assert await kept(pool) == ["01/01"]
    await send(pool, 1, 2)
    await send(pool, 2, 2, status=2)
    await keeper(pool, NOBODY).look()
    assert await kept(pool) == ["01/01", "01/02", "02/01", "02/02"]


async def test_a_look_that_was_cut_off_before_it_wrote_down_how_far_it_came_is_repeated_without_doubles(
    pool: EnginePool, engine: Engine
) -> None:
    await send(pool, 1, 1, status=2)
    await keeper(pool, NOBODY).look()
    engine.command("TRUNCATE TABLE decided_until")
    await keeper(pool, NOBODY).look()
    assert await kept(pool) == ["01/01"]


async def test_a_span_that_was_sent_twice_is_kept_once(pool: EnginePool) -> None:
    await send(pool, 1, 1, status=2)
    await send(pool, 1, 1, status=2)
    await keeper(pool, NOBODY).look()
    assert await kept(pool) == ["01/01"]


async def test_a_trace_that_is_not_quiet_yet_is_decided_later(pool: EnginePool) -> None:
    await send(pool, 1, 1, status=2)
    patient = keeper(pool, NOBODY, quiet=60)
    await patient.look()
    assert await kept(pool) == []
    assert patient.decided == 0
    await keeper(pool, NOBODY).look()
    assert await kept(pool) == ["01/01"]


async def test_slow_degraded_and_a_share_are_kept_each_by_its_rule(pool: EnginePool, engine: Engine) -> None:
    now = time.time_ns()
    slow = {"start_time_unix_nano": now - 400_000_000, "end_time_unix_nano": now}
    await send(pool, 1, 1, **slow)
    await send(pool, 2, 1, resource={"service.name": "search"}, **slow)
    await send(pool, 3, 1)
    engine.command(
        "INSERT INTO spans (Timestamp, TraceId, SpanId, ServiceName, Source, SpanAttributes) SELECT now64(9), "
        "toFixedString(unhex('00000000000000000000000000000004'), 16), toFixedString(unhex('01'), 8), 'gateway', 'gateway', "
        "map('atoll.redispatched', 'true')"
    )
    looked = keeper(pool, Tail(slow=0, slow_services="search=0.3", share=0))
    await looked.look()
    assert (looked.decided, looked.kept) == (4, {"slow": 1, "degraded": 1})
    assert [trace[:2] for trace in await kept(pool)] == ["02", "04"]
    engine.command("TRUNCATE TABLE decided_until")
    await keeper(pool, Tail(share=1)).look()
    assert [trace[:2] for trace in await kept(pool)] == ["01", "02", "03", "04"]


async def test_spans_without_a_trace_id_are_no_trace(pool: EnginePool) -> None:
    await pool.insert(otlp.traces([span(trace_id=b"", status=2).SerializeToString()]))
    await keeper(pool, Tail(share=1)).look()
    assert await kept(pool) == []


async def test_readers_find_each_span_once_before_and_after_its_day_ends(pool: EnginePool) -> None:
    now = time.time_ns()
    old = now - 4 * DAY * 10**9
    request = span(trace_id=b"o" * 16, start_time_unix_nano=old, end_time_unix_nano=old + 5, status=2)
    add_span(request, trace_id=b"p" * 16, start_time_unix_nano=old, end_time_unix_nano=old + 5)
    add_span(request, trace_id=b"n" * 16, status=2)
    await pool.insert(otlp.traces([request.SerializeToString()]))
    wide = keeper(pool, NOBODY)
    await wide.look()
    # The old spans began too long ago to be looked at; the look that would have taken them was days ago.
    await pool.command("INSERT INTO kept_spans SELECT * FROM spans WHERE TraceId = 'oooooooooooooooo'")
    found = "SELECT substring(TraceId, 1, 1) AS trace FROM all_spans ORDER BY trace"
    assert [row["trace"] for row in await pool.rows(found)] == ["n", "o", "p"]
    await Retention(pool, SystemClock(), Telemetry(traces_days=3)).sweep()
    assert [row["trace"] for row in await pool.rows(found)] == ["n", "o"]
    assert (await pool.rows("SELECT count() AS n FROM spans"))[0]["n"] == 1


async def test_rows_past_their_days_are_deleted_by_the_engine_itself(pool: EnginePool) -> None:
    week = record("old", time_unix_nano=time.time_ns() - 8 * DAY * 10**9)
    await Retention(pool, SystemClock(), Telemetry(logs_days=30)).sweep()
    await pool.insert(otlp.logs([week.SerializeToString(), record("new").SerializeToString()]))
    assert len(await pool.rows("SELECT 1 FROM logs")) == 2
    await Retention(pool, SystemClock(), Telemetry(logs_days=7)).sweep()
    await pool.insert(otlp.logs([week.SerializeToString()]))
    clock = SystemClock()
    end = clock.now() + 25
    while clock.now() < end and len(await pool.rows("SELECT 1 FROM logs")) > 1:
        await clock.sleep(0.2)
    assert [row["Body"] for row in await pool.rows("SELECT Body FROM logs")] == ["new"]


async def test_every_table_that_grows_has_an_end(pool: EnginePool) -> None:
    """But three: the schema's versions, a boundary a day, and one row."""
    small = {"schema_versions", "kept_until", "decided_until"}
    await Retention(pool, SystemClock(), Telemetry()).sweep()
    sql = (
        "SELECT name, position(create_table_query, ' TTL ') > 0 AS ends FROM system.tables"
        " WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    )
    found = {row["name"]: bool(row["ends"]) for row in await pool.rows(sql)}
    assert {name for name, ends in found.items() if not ends} == small
    assert {age.table for age in ages(Telemetry())} == found.keys() - small


async def test_series_end_after_their_samples_and_counts_of_lines_a_year_later(pool: EnginePool) -> None:
    await Retention(pool, SystemClock(), Telemetry(metrics_days=7)).sweep()
    await pool.command(
        "INSERT INTO series (MetricName, SeriesId, LastSeen) SELECT 'm', number, now64(3) - toIntervalHour(24 * 8 + 12 - number * 24)"
        " FROM numbers(3)"
    )
    await pool.command(
        "INSERT INTO request_lines SELECT number, 'mesh', today() - 380 + number * 20, 9, 10 FROM numbers(2)"
    )
    for table in ("series", "request_lines"):
        await pool.command(f"OPTIMIZE TABLE {table} FINAL")
    assert [
        row["SeriesId"] for row in await pool.rows("SELECT toInt32(SeriesId) AS SeriesId FROM series ORDER BY 1")
    ] == [1, 2]
    assert await pool.rows("SELECT toInt32(Run) AS run FROM request_lines") == [{"run": 1}]


async def test_the_oldest_day_goes_when_the_disk_limit_is_passed(pool: EnginePool) -> None:
    for back in (0, 2, 5):
        at = time.time_ns() - back * DAY * 10**9
        bodies = [record(os.urandom(300).hex(), time_unix_nano=at).SerializeToString() for _ in range(50)]
        await pool.insert(otlp.logs(bodies))
    clock = FakeClock(wall=time.time())
    roomy = Retention(pool, clock, Telemetry())
    await roomy.sweep()
    assert roomy.counts.bytes > 3 * 50 * 300
    tight = Retention(pool, clock, Telemetry(disk_bytes=roomy.counts.bytes - 3000))
    await tight.sweep()
    left = await pool.rows("SELECT toString(toDate(Timestamp)) AS day FROM logs GROUP BY day ORDER BY day")
    today = datetime.now(UTC).date()
    assert [row["day"] for row in left] == [str(today - timedelta(days=2)), str(today)]
    assert tight.counts.dropped == 1
    assert tight.counts.dropped_bytes > 50 * 300


async def test_a_server_keeps_and_ends_rows_as_the_embedded_engine_does(either: Engine) -> None:
    pool = EnginePool(either, SystemClock())
    either.command("SYSTEM STOP MERGES spans")
    try:
        await send(pool, 1, 1, status=2)
        await send(pool, 2, 1)
        await keeper(pool, NOBODY).look()
        assert await kept(pool) == ["01/01"]
        await Retention(pool, SystemClock(), Telemetry(disk_bytes=1)).sweep()
        assert (await pool.rows("SELECT count() AS n FROM all_spans"))[0]["n"] == 1, "of today the newest part stays"
    finally:
        either.command("SYSTEM START MERGES spans")
        await pool.close()


async def test_settings_that_are_no_rules_are_refused_at_the_start() -> None:
    for wrong in ({"share": 2.0}, {"slow": float("nan")}, {"slow_services": "orders"}, {"slow_services": "orders=-1"}):
        with pytest.raises(Exception, match="ATOLL_TAIL"):
            tail.read(Tail(**wrong))
