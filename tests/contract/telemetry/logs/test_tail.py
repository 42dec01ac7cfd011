from __future__ import annotations

import asyncio

from tests.contract.telemetry.logs.stage import Stage

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def tail(stage: Stage, cursor: str, wait: int = 0) -> list[tuple[str, str]]:
    found = await stage.ask("/tail", cursor=cursor, wait=wait)
    return [(record["source"], record["text"]) for record in found["records"]]


async def test_a_tail_shows_what_arrives_once_whatever_time_it_claims(stage: Stage) -> None:
    stage.prints("|before")
    await stage.collect()
    cursor = (await stage.ask("/tail", service="web"))["cursor"]
    stage.prints("|a", "|b")
    stage.prints("|other", instance="cart-1")
    await stage.collect()
    await stage.send("an hour late", -3600.0)
    assert await tail(stage, cursor) == [("otlp", "an hour late"), ("stdout", "a"), ("stdout", "b")]
    assert await tail(stage, cursor) == []
    stage.prints("|c")
    await stage.collect()
    assert await tail(stage, cursor) == [("stdout", "c")]


async def test_a_record_that_comes_the_other_way_later_is_not_shown_again(stage: Stage) -> None:
    cursor = (await stage.ask("/tail"))["cursor"]
    stage.prints("|INFO:app:order 17", "|INFO:app:order 18")
    await stage.collect()
    assert len(await tail(stage, cursor)) == 2
    await stage.send("order 17", -0.001, trace=TRACE)
    await stage.send("order 18", trace=TRACE)
    await stage.send("order 18", trace=TRACE)
    assert await tail(stage, cursor) == [("otlp", "order 18")], "the third was really logged"
    await stage.send("both", 5.0)
    stage.prints("|INFO:app:both", at=5.0)
    await stage.collect()
    assert await tail(stage, cursor) == [("otlp", "both")]


async def test_who_waits_is_answered_when_something_comes(stage: Stage) -> None:
    cursor = (await stage.ask("/tail", level="warn"))["cursor"]
    waiting = asyncio.ensure_future(tail(stage, cursor, wait=9))
    stage.prints("|INFO:app:no", "|WARNING:app:yes")
    await stage.collect()
    assert await asyncio.wait_for(waiting, 5) == [("stdout", "yes")]


async def test_a_tail_that_is_not_known_is_refused(stage: Stage) -> None:
    answer = await stage.get("/tail", cursor="0123456789abcdef")
    assert (answer.status_code, answer.json()["field"]) == (422, "cursor")
