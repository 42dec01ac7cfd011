"""Questions that would cost too much end with a word about it (faults.md, G12), and the next one is answered."""

from __future__ import annotations

import asyncio

import pytest

from atoll.settings import Telemetry
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.query import app
from tests.contract.telemetry.query.stage import NOON, Stage


async def fill(pool: EnginePool, rows: int) -> None:
    await pool.command(
        "INSERT INTO spans (Timestamp, TraceId, SpanId, ParentSpanId, ServiceName, SpanName, SpanKind, Duration, SpanAttributes)"
        f" SELECT fromUnixTimestamp64Nano({NOON} - 1000000 * number), toFixedString(unhex(hex(MD5(toString(number)))), 16),"
        " toFixedString(substring(MD5(toString(number)), 1, 8), 8), toFixedString(substring(MD5(toString(number + 1)), 1, 8), 8),"
        f" 'web', 'GET', 2, 5, map('k', hex(MD5(toString(number)))) FROM numbers({rows})"
    )


@pytest.mark.parametrize(
    "knobs",
    [Telemetry(query_memory=2 << 20), Telemetry(query_time=0.001)],
    ids=["memory", "time"],
)
async def test_a_question_that_costs_too_much_is_refused_and_says_how_to_ask_for_less(
    pool: EnginePool, knobs: Telemetry
) -> None:
    await fill(pool, 150_000)
    for path, query in (
        ("traces", {"order": "slowest", "limit": "1000"}),
        ("map", {}),
    ):
        response = await Stage(pool, knobs).get(path, **query)
        assert response.status_code == 409, (path, response.text[:300])
        problem = response.json()
        assert (problem["code"], bool(problem["hint"])) == ("limit-reached", True)
    assert (await Stage(pool).get("traces", limit="5")).status_code == 200


async def test_only_so_many_questions_are_in_progress(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "IN_PROGRESS", 3)
    answers = await asyncio.gather(*(stage.get("map") for _ in range(8)))
    said = [answer.status_code for answer in answers]
    assert said.count(200) == 3
    assert said.count(503) == 5
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("overloaded", "1")
    assert stage.app.queries.in_progress == 0
    assert stage.app.queries.refusals["overloaded"] == 5


async def test_a_question_cannot_write(stage: Stage) -> None:
    """The sessions that read cannot do anything else, whatever a statement says."""
    for sql in ("DROP TABLE spans", "INSERT INTO spans (SpanName) VALUES ('x')", "SET readonly = 0"):
        with pytest.raises(Exception, match=r"."):
            await stage.pool.rows(sql)
    assert (await stage.ask("traces"))["traces"] == []
