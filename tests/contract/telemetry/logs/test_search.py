from __future__ import annotations

from collections import Counter

import pytest

from atoll.settings import Telemetry
from tests.contract.telemetry.logs.stage import Stage

TRACE = "0af7651916cd43dd8448eb211c80319c"
HOSTILE = [
    "'; DROP TABLE logs; --",
    "' OR 1=1 --",
    "\\' OR '1'='1",
    "') OR sleep(3) --",
    "{since:Int64}",
    "x' UNION ALL SELECT name FROM system.tables --",
    "/* */ ; TRUNCATE TABLE logs",
    "\\",
    "`",
    "%00",
    "\n; DROP DATABASE atoll",
    "\t\\N",
    "[']",
]


@pytest.fixture
async def filled(stage: Stage) -> Stage:
    stage.prints(
        "=started: 7",
        "|INFO:app:order 17 created",
        f"|WARNING:app:payment slow trace_id={TRACE}",
        "|ERROR:app:payment refused (card)",
        "|plain words",
    )
    stage.prints("|INFO:cart:cart emptied", instance="cart-1", at=1.0)
    stage.prints("|INFO:cart:cart filled", instance="cart-2", at=2.0)
    await stage.collect()
    return stage


async def test_records_are_chosen_by_every_filter(filled: Stage) -> None:
    texts = filled.texts
    assert await texts(service="cart") == ["cart emptied", "cart filled"]
    assert await texts(("service", "cart"), ("service", "web"), grep="^(cart|plain)") == [
        "plain words",
        "cart emptied",
        "cart filled",
    ]
    assert await texts(instance="cart-2") == ["cart filled"]
    assert await texts(level="warn") == [f"payment slow trace_id={TRACE}", "payment refused (card)"]
    assert await texts(level="error") == ["payment refused (card)"]
    assert await texts(words="payment card") == ["payment refused (card)"]
    assert await texts(words="pay") == []
    assert await texts(grep="pay.*card") == ["payment refused (card)"]
    assert await texts(grep="(?i)PLAIN") == ["plain words"]
    assert await texts(trace=TRACE) == [f"payment slow trace_id={TRACE}"]
    assert await texts(since=filled.wall + 1.5) == ["cart filled"]
    assert await texts(until=filled.wall + 1.5, service="cart") == ["cart emptied"]
    assert await texts(source="otlp") == []
    (run,) = {one["run"] for one in (await filled.ask("", service="web"))["records"]}
    assert len(await texts(run=run)) == 5


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_pages_hold_every_record_once_even_of_one_moment(stage: Stage, order: str) -> None:
    for number in range(4):
        stage.prints(*(f"|{number} {line}" for line in range(7)), instance=f"web-{number}", step=0.0)
    await stage.collect()
    seen: list[str] = []
    query = {"limit": 3, "order": order}
    page = await stage.ask("", **query)
    while True:
        seen += [record["text"] for record in page["records"]]
        if page["cursor"] is None:
            break
        page = await stage.ask("", **query, cursor=page["cursor"])
    assert sorted(seen) == [f"{number} {line}" for number in range(4) for line in range(7)]
    whole = [record["text"] for record in (await stage.ask("", order=order))["records"]]
    assert seen == whole


PARAMETERS = {
    "": "service instance grep words run level trace source since until limit cursor order",
    "/patterns": "service grep words new limit",
    "/histogram": "service grep words buckets",
    "/tail": "service grep words cursor wait",
}


async def test_no_parameter_is_ever_sql(filled: Stage) -> None:
    before = await filled.pool.rows("SELECT count() AS n FROM logs")
    for text in HOSTILE:
        for path, names in PARAMETERS.items():
            for name in names.split():
                answer = await filled.get(path, **{name: text})
                assert answer.status_code in {200, 422}, (path, name, text, answer.text)
                if name in {"service", "instance", "run"} and path == "":
                    assert answer.json()["records"] == [], (name, text)
        assert await filled.pool.rows("SELECT count() AS n FROM logs") == before, text


async def test_a_regular_expression_that_is_none_is_told_so(filled: Stage) -> None:
    for path in ("", "/patterns", "/histogram", "/tail"):
        answer = await filled.get(path, grep="(")
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("grep: ")
        assert answer.json()["field"] == "grep"


async def test_a_record_that_came_both_ways_is_shown_once_on_every_page(stage: Stage) -> None:
    lines = []
    for number in range(12):
        lines.append(f"|2026-11-21 14:02:11,123 INFO app: step {number % 3}")
        await stage.send(f"step {number % 3}", number * 0.1 - 0.002, trace=TRACE)
    stage.prints(*lines, "|only printed", step=0.1)
    await stage.send("only sent", 9.0)
    await stage.collect()
    for limit in (1000, 2, 5):
        seen: list[tuple[str, str]] = []
        cursor = ""
        while True:
            page = await stage.ask("", limit=limit, order="oldest", **({"cursor": cursor} if cursor else {}))
            seen += [(record["text"], record["source"]) for record in page["records"]]
            if page["cursor"] is None:
                break
            cursor = page["cursor"]
        assert seen == [
            *((f"step {number % 3}", "otlp") for number in range(12)),
            ("only printed", "stdout"),
            ("only sent", "otlp"),
        ], limit


async def test_a_filter_that_only_one_of_two_passes_still_shows_it(stage: Stage) -> None:
    stage.prints("|ERROR:app:failed", "|Traceback (most recent call last):", '|  File "zebra.py"', "|KeyError: 1")
    await stage.send("failed", severity=17)
    await stage.collect()
    (record,) = (await stage.ask())["records"]
    assert (record["source"], record["text"].count("\n")) == ("otlp", 3)
    (record,) = (await stage.ask("", words="zebra"))["records"]
    assert record["source"] == "stdout"


async def test_counts_over_time_count_a_record_once(stage: Stage) -> None:
    stage.prints(*["|INFO:app:tick 1"] * 10, "|ERROR:app:no", "|plain", step=1.0)
    for number in range(10):
        await stage.send(f"tick {number}", float(number))
    await stage.collect()
    for buckets in (1, 60):
        found = await stage.ask("/histogram", since=stage.wall, until=stage.wall + 60, buckets=buckets)
        assert found["step"] == 60 // buckets
        total: Counter[str] = Counter()
        for one in found["buckets"]:
            total.update(one["counts"])
        assert total == {"info": 10, "error": 1, "unknown": 1}


async def test_patterns_group_similar_lines_and_know_what_the_last_deployment_brought(stage: Stage) -> None:
    stage.prints("=started: 1", *(f"|INFO:app:order {number} created" for number in range(20)))
    stage.prints(
        "=ended: 0", "=started: 2", "|INFO:app:order 99 created", "|WARNING:app:stock low for 7", at=120.0 - 90
    )
    stage.prints("=started: 1", "|INFO:cart:cart 1 filled", instance="cart-1")
    await stage.send("order 5 created", 0.003)
    await stage.collect()
    found = await stage.ask("/patterns", since=stage.wall - 5)
    assert {(one["service"], one["pattern"]): (one["count"], one["new"]) for one in found["patterns"]} == {
        ("web", "order <*> created"): (21, True),
        ("web", "stock low for <*>"): (1, True),
        ("cart", "cart <*> filled"): (1, True),
    }, "starts within a minute are one deployment"
    stage.prints("=ended: 0", "=started: 3", "|INFO:app:order 100 created", "|ERROR:app:card 7 refused", at=200.0)
    await stage.collect()
    found = await stage.ask("/patterns", since=stage.wall - 5, new="true", service="web")
    assert [one["pattern"] for one in found["patterns"]] == ["card <*> refused"]
    assert found["patterns"][0]["level"] == "ERROR"
    assert (await stage.ask("/patterns", level="error"))["patterns"][0]["count"] == 1


async def test_a_question_that_takes_too_much_is_ended_and_the_next_is_answered(stage: Stage) -> None:
    await stage.pool.command(
        "INSERT INTO logs (Timestamp, ServiceName, Source, Body) "
        "SELECT now64(9) - number / 1000, 'web', 'stdout', concat(repeat('ab ', 300), toString(number)) FROM numbers(20000)"
    )
    poor = Stage(stage.pool, stage.folder, Telemetry(query_memory=1 << 20))
    answer = await poor.get("/patterns", since=1)
    assert (answer.status_code, answer.json()["code"]) == (409, "limit-reached")
    assert answer.json()["hint"]
    await poor.client.aclose()
    assert len(await stage.texts(limit=3)) == 3
