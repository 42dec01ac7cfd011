from __future__ import annotations

from typing import Any

import pytest

from atoll.telemetry.engine import Engine
from tests.contract.telemetry.conftest import Holding, empty
from tests.contract.telemetry.query.stage import NOON, WALL, Stage, trace_id

A, B, C = trace_id(1), trace_id(2), trace_id(3)


@pytest.fixture
async def shop(as_it_is: Stage, embedded: Engine, holding: Holding) -> Stage:
    """An order that went well, one that failed, and a look at the catalog an hour before. Only to be read."""
    if holding.whose != __name__:
        empty(embedded)
        await fill(as_it_is)
        holding.whose = __name__
    return as_it_is


async def fill(stage: Stage) -> None:
    for trace, at, failed in ((A, -5000, False), (B, -4000, True)):
        stage.span(trace, "POST /orders", at, at + 100 + 50 * failed, attributes={"http.response.status_code": 201})
        stage.span(
            trace,
            "create",
            at + 10,
            at + 90,
            service="orders",
            parent="POST /orders",
            error=failed,
            instance="orders-1",
            message="card was declined" if failed else "",
            attributes={
                "user.id": "u'7; DROP",
                "http.response.status_code": 502 if failed else 201,
                "http.route": "/o",
            },
        )
    stage.span(C, "GET /catalog", -3_700_000, -3_699_995, service="catalog", attributes={"cold": "yes"})
    await stage.commit()
    await stage.log("reserving stock\x1b[31m", -3950, trace=B, span="create", service="orders")


def ids(answer: Any) -> list[str]:
    return [row["id"] for row in answer["traces"]]


async def test_a_list_has_one_row_a_trace_the_newest_first(shop: Stage) -> None:
    answer = await shop.ask("traces")
    assert ids(answer) == [B, A, C]
    assert answer["next"] is None
    assert answer["traces"][0] == {
        "id": B,
        "start": "2026-11-18T11:06:36.000000Z",
        "duration_ms": 150.0,
        "root": "POST /orders",
        "service": "web",
        "http_status": 201,
        "services": ["web", "orders"],
        "spans": 2,
        "errors": 1,
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"service": "orders"}, [B, A]),
        ({"service": "orders", "status": "error"}, [B]),
        ({"service": "web", "status": "error"}, []),
        ({"status": "ok"}, [A, C]),
        ({"http": "5xx"}, [B]),
        ({"http": "201"}, [B, A]),
        ({"instance": "orders-1"}, [B, A]),
        ({"route": "/o"}, [B, A]),
        ({"min_duration": "120"}, [B]),
        ({"max_duration": "60"}, [C]),
        ({"service": "web", "max_duration": "120"}, [A]),
        ({"attribute": "user.id:u'7; DROP"}, [B, A]),
        ({"attribute": "cold"}, [C]),
        ({"attribute": "cold:no"}, []),
        ({"attribute": "service.name:orders"}, [B, A]),
        ({"attribute": "resource.service.name:web"}, [B, A]),
        ({"attribute": "resource.user.id"}, []),
        ({"text": "DECLINED"}, [B]),
        ({"text": "catalog"}, [C]),
        ({"text": "reserving"}, [B]),
        ({"since": str(WALL - 4.5)}, [B]),
        ({"until": "2026-11-18T11:00:00Z"}, [C]),
        ({"order": "slowest", "since": str(WALL - 7200)}, [B, A, C]),
        ({"order": "slowest"}, [B, A]),
        ({"service": "' OR 1=1 --"}, []),
        ({"text": "\\') OR (1"}, []),
    ],
)
async def test_a_search_finds_the_traces_of_which_a_span_meets_every_condition(
    shop: Stage, query: dict[str, str], found: list[str]
) -> None:
    assert ids(await shop.ask("traces", **query)) == found


async def test_attributes_may_be_asked_for_together(shop: Stage) -> None:
    both = (("attribute", "user.id"), ("attribute", "http.route:/o"))
    assert ids(await shop.ask("traces", *both)) == [B, A]
    assert ids(await shop.ask("traces", *both, ("attribute", "cold"))) == []


@pytest.mark.parametrize("order", ["newest", "slowest"])
async def test_pages_show_every_trace_once_and_in_order(stage: Stage, order: str) -> None:
    """Some begin in the same instant, some lie days back, all slices are crossed."""
    starts = [-1, -1, -1, -2, -800_000, -1_000_000, -14_000_000, -14_000_000, -80_000_000]
    for number, start in enumerate(starts):
        stage.span(trace_id(number), "root", start, start + 10 + number % 4)
        stage.span(trace_id(number), "inside", start + 5, start + 6, service="db", parent="root")
    await stage.commit()
    whole = ids(await stage.ask("traces", order=order, since="0", limit="1000"))
    assert len(whole) == len(starts)
    for size in (1, 2, 5):
        seen: list[str] = []
        query = {"order": order, "since": "0", "limit": str(size)}
        answer = await stage.ask("traces", **query)
        while answer["next"]:
            assert len(answer["traces"]) == size
            seen += ids(answer)
            answer = await stage.ask("traces", **query, cursor=answer["next"])
        assert seen + ids(answer) == whole


async def test_one_trace_comes_with_everything(shop: Stage) -> None:
    answer = await shop.ask(f"traces/{B}")
    assert [(span["name"], span["depth"], span["error"]) for span in answer["spans"]] == [
        ("POST /orders", 0, False),
        ("create", 1, True),
    ]
    inside = answer["spans"][1]
    assert (inside["at_ms"], inside["duration_ms"], inside["message"]) == (10, 80, "card was declined")
    assert (inside["instance"], inside["kind"], inside["http_status"]) == ("orders-1", "server", 502)
    assert inside["attributes"]["user.id"] == "u'7; DROP"
    assert answer["resources"][inside["resource"]]["service.name"] == "orders"
    (record,) = answer["logs"]
    assert (record["text"], record["level"], record["span"]) == ("reserving stock\x1b[31m", "info", inside["id"])
    assert record["at_ms"] == 50


async def test_the_beginning_of_an_id_is_enough_when_it_is_the_only_one(shop: Stage) -> None:
    for said in (B, B.upper(), B[:31], B[:9], "00000002"):
        assert (await shop.ask(f"traces/{said}"))["id"] == B
    several = await shop.get("traces/0000000")
    assert several.status_code == 422
    assert several.json()["candidates"] == [B, A, C]


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("traces/" + "f" * 32, 404, None),
        ("traces/ffff", 404, None),
        ("traces/fff", 422, "trace"),
        ("traces/xyz12345", 422, "trace"),
        ("traces/" + "f" * 33, 422, "trace"),
        ("traces/%1b%5b31m%0a", 422, "trace"),
        ("traces/ffff?limit=3", 422, "limit"),
        ("traces?servise=orders", 422, "servise"),
        ("traces?service=a&service=b", 422, "service"),
        ("traces?service=%00", 422, "service"),
        ("traces?service=" + "a" * 257, 422, "service"),
        ("traces?limit=0", 422, "limit"),
        ("traces?limit=1001", 422, "limit"),
        ("traces?limit=1e3", 422, "limit"),
        ("traces?status=bad", 422, "status"),
        ("traces?http=600", 422, "http"),
        ("traces?http=2xx%20OR%201", 422, "http"),
        ("traces?min_duration=-1", 422, "min_duration"),
        ("traces?min_duration=nan", 422, "min_duration"),
        ("traces?min_duration=5&max_duration=4", 422, "min_duration"),
        ("traces?since=yesterday", 422, "since"),
        ("traces?since=1e30", 422, "since"),
        ("traces?since=10&until=5", 422, "since"),
        ("traces?order=biggest", 422, "order"),
        ("traces?attribute=:x", 422, "attribute"),
        ("traces?" + "&".join(["attribute=a:b"] * 17), 422, "attribute"),
        ("traces?cursor=abc", 422, "cursor"),
        ("traces?cursor=%27%3B--", 422, "cursor"),
        ("traces?text=" + "x" * 20_000, 413, None),
        ("nothing", 404, None),
    ],
)
async def test_a_bad_question_is_refused_and_told_which_parameter_it_was(
    as_it_is: Stage, path: str, status: int, field: str | None
) -> None:
    response = await as_it_is.client.get(f"/api/v1/{path}")
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    problem = response.json()
    assert problem.get("field") == field
    assert problem["detail"].isprintable()
    assert (await as_it_is.client.post("/api/v1/traces")).status_code == 405


async def test_a_trace_of_too_many_spans_is_cut_and_says_by_how_much(stage: Stage) -> None:
    await stage.pool.command(
        "INSERT INTO spans (Timestamp, TraceId, SpanId, ServiceName, SpanName, Duration)"
        f" SELECT fromUnixTimestamp64Nano({NOON} + number), toFixedString(unhex('{A}'), 16),"
        " toFixedString(unhex(leftPad(hex(number + 1), 16, '0')), 8), 'loop', 'turn', 5 FROM numbers(12345)"
    )
    answer = await stage.ask(f"traces/{A}")
    assert (answer["span_count"], answer["cut"], len(answer["spans"])) == (12_345, 2_345, 10_000)


async def test_hostile_words_change_nothing_in_the_store(shop: Stage) -> None:
    before = await shop.pool.rows("SELECT name, total_rows FROM system.tables WHERE database = 'atoll' ORDER BY name")
    for word in (
        "'; DROP TABLE spans; --",
        "\\",
        "{x:String}",
        "*/ DROP",
        "`",
        '"',
        "\n\n",
        "%",
        "?",
        "${x}",
        "é\u202e",
    ):
        for name in ("service", "instance", "route", "text", "attribute"):
            response = await shop.get("traces", (name, word))
            assert response.status_code == 200, (name, word, response.text)
            assert response.json()["traces"] == []
    assert before == await shop.pool.rows(
        "SELECT name, total_rows FROM system.tables WHERE database = 'atoll' ORDER BY name"
    )


async def test_a_line_that_was_printed_and_sent_stands_in_the_trace_once(stage: Stage) -> None:
    await fill(stage)
    await stage.pool.command(
        "INSERT INTO logs (Timestamp, TraceId, ServiceName, InstanceId, Source, Body, SeverityNumber)"
        f" SELECT fromUnixTimestamp64Nano({NOON - 3_949_000_000}), toFixedString(unhex('{B}'), 16), 'orders', '', 'stdout', 'INFO reserving stock\x1b[31m', 9"
    )
    (record,) = (await stage.ask(f"traces/{B}"))["logs"]
    assert record["span"]


async def test_two_traces_are_compared_by_the_beginnings_of_their_ids(shop: Stage) -> None:
    found = await shop.ask(f"traces/{A}/compare/{B}")
    assert (found["first"]["id"], found["second"]["id"], found["change_ms"]) == (A, B, 50.0)
    create = next(one for one in found["spans"] if one["name"] == "create")
    assert (create["first"]["errors"], create["second"]["errors"], create["change_ms"]) == (0, 1, 0.0)
    assert (await shop.get(f"traces/{A}/compare/{'f' * 32}")).status_code == 404
    assert (await shop.get(f"traces/x/compare/{A}")).json()["field"] == "trace"
