"""The engine's threads: bounded, apart from each other, and never in the loop's way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from atoll.errors import BadRequest, Overloaded
from atoll.telemetry.engine import Engine, Insert, Limits
from atoll.telemetry.pool import WAITING, EnginePool
from atoll.telemetry.resting import LOOK, resting
from atoll.testing import FakeClock

INSERT = Insert(table="logs", format="TSV", data=[b""])


class SlowEngine:
    """An engine whose calls wait until they may go on."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.threads: set[str] = set()
        self.rests = 0

    def _wait(self) -> None:
        self.threads.add(threading.current_thread().name)
        assert self.go.wait(20)

    def insert(self, insert: Insert) -> None:
        self._wait()
        if insert.table == "wrong":
            raise BadRequest("no such rows")

    def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None
    ) -> list[dict[str, Any]]:
        self._wait()
        return [{"sql": sql}]

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None) -> Any:
        raise NotImplementedError

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._wait()

    def rest(self) -> None:
        self.rests += 1

    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
async def pool(engine: SlowEngine) -> AsyncIterator[EnginePool]:
    held: Engine = engine
    pool = EnginePool(held, FakeClock())
    yield pool
    engine.go.set()
    await pool.close()


async def until_started(engine: SlowEngine, count: int) -> None:
    async with asyncio.timeout(20):
        while len(engine.threads) < count:  # noqa: ASYNC110 - a thread cannot set an asyncio.Event
            await asyncio.sleep(0)


async def test_questions_do_not_wait_for_inserts(engine: SlowEngine, pool: EnginePool) -> None:
    inserts = [asyncio.create_task(pool.insert(INSERT)) for _ in range(5)]
    await until_started(engine, 2)
    asked = asyncio.create_task(pool.rows("SELECT 1"))
    await until_started(engine, 3)
    assert sorted(name[:12] for name in engine.threads) == ["engine-read_", "engine-write", "engine-write"]
    engine.go.set()
    assert await asked == [{"sql": "SELECT 1"}]
    await asyncio.gather(*inserts)
    assert (pool.writing.done, pool.reading.done, pool.writing.open) == (5, 1, 0)


async def test_beyond_what_may_wait_a_call_is_refused_and_counted(engine: SlowEngine, pool: EnginePool) -> None:
    asked = [asyncio.create_task(pool.rows("SELECT 1")) for _ in range(4 + WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await pool.rows("SELECT 2")
    assert pool.reading.refused == 1
    engine.go.set()
    await asyncio.gather(*asked)
    assert await pool.rows("SELECT 3") == [{"sql": "SELECT 3"}]


async def test_a_place_is_taken_until_the_thread_is_free_even_when_nobody_waits_any_more(
    engine: SlowEngine, pool: EnginePool
) -> None:
    asked = asyncio.create_task(pool.rows("SELECT 1"))
    await until_started(engine, 1)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert pool.reading.open == 1
    engine.go.set()
    assert await pool.rows("SELECT 2") == [{"sql": "SELECT 2"}]


async def test_an_insert_that_runs_is_known_with_its_age(engine: SlowEngine, pool: EnginePool) -> None:
    clock = FakeClock()
    held: Engine = engine
    timed = EnginePool(held, clock)
    assert timed.inserting_for() == 0
    inserting = asyncio.create_task(timed.insert(INSERT))
    await until_started(engine, 1)
    await clock.advance(7)
    assert timed.inserting_for() == 7
    engine.go.set()
    await inserting
    assert timed.inserting_for() == 0
    await timed.close()


async def test_what_the_engine_says_reaches_the_caller_and_is_counted(engine: SlowEngine, pool: EnginePool) -> None:
    engine.go.set()
    with pytest.raises(BadRequest, match="no such rows"):
        await pool.insert(Insert(table="wrong", format="TSV", data=[]))
    assert (pool.writing.failed, pool.writing.done) == (1, 0)


async def test_memory_is_given_back_once_after_questions_and_never_while_one_runs(engine: SlowEngine) -> None:
    clock = FakeClock()
    pool = EnginePool(engine, clock)
    async with resting(pool, clock) as counts:

        async def later() -> int:
            await clock.advance(LOOK + 1)
            for _ in range(50):
                await asyncio.sleep(0.002)
            return counts.rests

        assert await later() == 0
        asking = asyncio.create_task(pool.rows("SELECT 1"))
        assert await later() == 0
        engine.go.set()
        await asking
        async with asyncio.timeout(20):
            while not await later():
                pass
        assert await later() == 1
    assert engine.rests == 1
    await pool.close()
