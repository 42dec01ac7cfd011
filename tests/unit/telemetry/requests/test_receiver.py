from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from atoll.errors import AtollError, BadRequest, Overloaded, StorageFull
from atoll.telemetry.engine import Insert
from atoll.telemetry.requests import receiver as module
from atoll.telemetry.requests.receiver import FIRST_WAIT, GAPS_EVERY, INTERVAL, LONGEST_INTERVAL, SHARE, Receiver
from atoll.testing.clock import FakeClock, settle


def line(number: int) -> bytes:
    return b"gateway\t1\t%d\t.2\n" % number


class FakePool:
    """Keeps what was inserted; fails as it is told to."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.inserted: list[Insert] = []
        self.moments: list[float] = []
        self.failures: list[AtollError] = []
        self.poison = b"poison"
        self.takes = 0.0

    async def insert(self, insert: Insert) -> None:
        self.moments.append(self.clock.now())
        if self.takes:
            await self.clock.sleep(self.takes)
        if self.failures:
            raise self.failures.pop(0)
        if self.poison in b"".join(insert.data):
            raise BadRequest("cannot parse")
        self.inserted.append(insert)

    def rows(self, table: str = "raw_requests") -> bytes:
        return b"".join(b"".join(each.data) for each in self.inserted if each.table == table)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pool(clock: FakeClock) -> FakePool:
    return FakePool(clock)


@pytest.fixture
async def receiver(pool: FakePool, clock: FakeClock) -> AsyncIterator[Receiver]:
    receiver = Receiver(pool, clock)
    task = asyncio.get_running_loop().create_task(receiver.run())
    await settle()
    yield receiver
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_after_quiet_lines_are_committed_almost_at_once(
    receiver: Receiver, pool: FakePool, clock: FakeClock
) -> None:
    receiver.take(line(0) + line(1))
    await clock.advance(FIRST_WAIT)
    assert pool.rows() == line(0) + line(1)
    assert (receiver.counts.lines, receiver.counts.committed, receiver.counts.waiting) == (2, 2, 0)


async def test_under_traffic_commits_are_few(receiver: Receiver, pool: FakePool, clock: FakeClock) -> None:
    for number in range(100):
        receiver.take(line(number))
        await clock.advance(0.1)
    assert len(pool.moments) <= 10 / INTERVAL + 1
    assert pool.rows().count(b"\n") >= 100 - INTERVAL / 0.1


async def test_slow_commits_come_less_often(receiver: Receiver, pool: FakePool, clock: FakeClock) -> None:
    pool.takes = 0.2
    for number in range(100):
        receiver.take(line(number))
        await clock.advance(0.1)
    gaps = [later - earlier - pool.takes for earlier, later in zip(pool.moments[1:], pool.moments[2:], strict=False)]
    assert min(gaps) >= min(LONGEST_INTERVAL, SHARE * pool.takes) - 0.001


@pytest.mark.parametrize("error", [Overloaded("away", retry_after=1), StorageFull("no room")])
async def test_an_engine_that_is_full_or_away_gets_them_later(
    receiver: Receiver, pool: FakePool, clock: FakeClock, error: AtollError
) -> None:
    pool.failures = [error] * 5
    receiver.take(line(0))
    await clock.advance(30)
    receiver.take(line(1))
    await clock.advance(30)
    assert pool.rows() == line(0) + line(1)
    assert (receiver.counts.failures, receiver.counts.committed, receiver.counts.lost) == (5, 2, 0)


async def test_a_line_that_cannot_be_parsed_does_not_stop_its_neighbours(
    receiver: Receiver, pool: FakePool, clock: FakeClock
) -> None:
    poisoned = [line(number) for number in range(40)]
    poisoned[17] = b"gateway\tpoison\t.2\n"
    receiver.take(b"".join(poisoned))
    await clock.advance(5)
    assert pool.rows() == b"".join(each for each in poisoned if b"poison" not in each)
    assert (receiver.counts.committed, receiver.counts.odd) == (39, 1)


async def test_too_much_that_waits_stops_the_reading_until_half_is_gone(
    receiver: Receiver, pool: FakePool, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD", 10 * len(line(1)))
    monkeypatch.setattr(module, "BATCH", 2 * len(line(1)))
    seen: list[bool] = []

    class Connection:
        def read(self, *, stop: bool) -> None:
            seen.append(stop)

    receiver.joined(Connection())  # type: ignore[arg-type]
    pool.failures = [Overloaded("away", retry_after=1)] * 3
    for number in range(1, 10):
        receiver.take(line(number))
    assert seen == []
    receiver.take(line(9))
    receiver.take(line(9))
    assert seen == [True]
    await clock.advance(60)
    assert seen == [True, False]
    assert (receiver.counts.committed, receiver.counts.pauses, receiver.counts.waiting) == (11, 1, 0)


async def test_what_haproxy_says_becomes_log_records(receiver: Receiver, pool: FakePool, clock: FakeClock) -> None:
    receiver.take(b"Server orders/o-1 is DOWN, reason: x.\nProxy gone stopped.\n7 events dropped\n")
    await clock.advance(1)
    rows = pool.rows("logs")
    assert rows.count(b"\n") == 1
    assert b'"SeverityText":"WARN"' in rows.split(b"\n")[0]
    assert b'"SeverityText":"INFO"' in rows.split(b"\n")[1]
    assert (receiver.counts.remarks, receiver.counts.dropped, receiver.counts.odd) == (2, 7, 0)


async def test_remarks_that_the_engine_cannot_read_are_let_go(
    receiver: Receiver, pool: FakePool, clock: FakeClock
) -> None:
    receiver.take(b"Server poison is DOWN\n")
    await clock.advance(1)
    receiver.take(line(0))
    await clock.advance(5)
    assert pool.rows() == line(0)
    assert receiver.counts.odd == 1


async def test_at_the_end_what_waits_is_committed(pool: FakePool, clock: FakeClock) -> None:
    receiver = Receiver(pool, clock)
    receiver.take(line(0))
    await receiver.finish()
    assert pool.rows() == line(0)
    assert receiver.counts.lost == 0


async def test_at_the_end_what_the_engine_does_not_take_is_counted(
    pool: FakePool, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_WAIT", 0.01)
    pool.failures = [Overloaded("away", retry_after=1)] * 1000
    receiver = Receiver(pool, clock)
    receiver.take(line(0) + line(1))
    await receiver.finish()
    assert receiver.counts.lost == 2


async def test_what_is_missing_is_looked_at_when_lines_have_come(pool: FakePool, clock: FakeClock) -> None:
    class Store:
        asked = 0
        answer: list[dict[str, Any]] | None = None

        async def rows(self, sql: str) -> list[dict[str, Any]]:
            self.asked += 1
            if self.answer is None:
                raise Overloaded("away", retry_after=1)
            return self.answer

    store, receiver = Store(), Receiver(pool, clock)
    task = asyncio.get_running_loop().create_task(receiver.look(store))
    await clock.advance(2.5 * GAPS_EVERY)
    assert (store.asked, receiver.counts.missing) == (3, 0)
    store.answer = [{"lines": 5, "lost": 2}]
    await clock.advance(3 * GAPS_EVERY)
    assert (store.asked, receiver.counts.recorded, receiver.counts.missing) == (4, 5, 2)
    receiver.counts.committed += 1
    await clock.advance(GAPS_EVERY)
    assert store.asked == 5
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
