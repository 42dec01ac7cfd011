"""When bodies are committed, who hears of it, and what a failure costs whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from atoll.errors import AtollError, BadRequest, Overloaded, StorageFull
from atoll.kit.clock import Instant
from atoll.kit.tasks import owned
from atoll.telemetry.buffer import BURST, FLUSH_BODIES, FLUSH_BYTES, GATHER, STEP, Buffer, Pace
from atoll.telemetry.signal import Signal
from atoll.testing import FakeClock, settle


class Table:
    """Where bodies go: remembers inserts, fails as it is told."""

    def __init__(self) -> None:
        self.inserts: list[tuple[Signal, tuple[bytes, ...]]] = []
        self.tried = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, signal: Signal, bodies: Sequence[bytes]) -> None:
        self.tried += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        if any(body.startswith(b"bad") for body in bodies):
            raise BadRequest("corrupted")
        self.inserts.append((signal, tuple(bodies)))

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, bodies in self.inserts for body in bodies]


class World:
    def __init__(self, buffer: Buffer, table: Table, clock: FakeClock) -> None:
        self.buffer, self.table, self.clock = buffer, table, clock

    def send(self, *bodies: bytes, signal: Signal = Signal.TRACES) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.buffer.add(signal, body)) for body in bodies]

    async def spend_burst(self) -> None:
        """Steady traffic: nothing goes at once any more."""
        for _ in range(BURST):
            (sent,) = self.send(b"earlier")
            await self.clock.advance(2 * GATHER)
            assert sent.done()
        self.table.inserts.clear()


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    clock, table = FakeClock(), Table()
    buffer = Buffer(table.write, clock, longest=2.0)
    async with buffer.flushing():
        yield World(buffer, table, clock)


async def failure(sent: asyncio.Task[None]) -> str:
    with pytest.raises(AtollError) as error:
        await sent
    return error.value.code


async def test_a_body_is_acknowledged_when_it_is_committed_and_not_before() -> None:
    async with world() as at:
        at.table.open.clear()
        (sent,) = at.send(b"one")
        await at.clock.advance(5)
        assert at.table.tried == 1
        assert not sent.done()
        at.table.open.set()
        await sent
        assert at.table.bodies == [b"one"]


async def test_after_quiet_a_body_goes_at_once_with_those_that_come_with_it() -> None:
    async with world() as at:
        sent = at.send(b"a", b"b")
        await at.clock.advance(GATHER + 0.06)
        assert all(one.done() for one in sent)
        assert at.table.inserts == [(Signal.TRACES, (b"a", b"b"))]


async def test_steady_traffic_is_committed_twice_in_the_longest_pause() -> None:
    async with world() as at:
        await at.spend_burst()
        sent = []
        for number in range(200):
            sent += at.send(f"{number}".encode())
            await at.clock.advance(0.05)
        await at.clock.advance(2)
        assert all(one.done() for one in sent)
        assert len(at.table.bodies) == 200
        assert 9 <= len(at.table.inserts) <= 12


async def test_much_is_committed_however_young() -> None:
    async with world() as at:
        await at.spend_burst()
        sent = at.send(*[b"x" * (FLUSH_BYTES // 4)] * 6)
        await settle()
        assert [one.done() for one in sent] == [True] * 4 + [False] * 2
        await at.clock.advance(2)
        assert all(one.done() for one in sent)


async def test_many_bodies_are_committed_however_small() -> None:
    async with world() as at:
        await at.spend_burst()
        sent = at.send(*[b"x"] * FLUSH_BODIES)
        await settle()
        assert all(one.done() for one in sent)


async def test_signals_do_not_wait_for_each_other() -> None:
    async with world() as at:
        at.table.open.clear()
        at.send(b"trace")
        await at.clock.advance(1)
        (log,) = at.send(b"log", signal=Signal.LOGS)
        await at.clock.advance(1)
        assert at.table.tried == 2
        at.table.open.set()
        await log


async def test_one_bad_body_fails_alone_and_costs_few_inserts() -> None:
    async with world() as at:
        good = at.send(*[f"good {number}".encode() for number in range(40)])
        (bad,) = at.send(b"bad")
        good += at.send(*[f"good {number}".encode() for number in range(40, 100)])
        await at.clock.advance(1)
        assert await failure(bad) == "bad-request"
        await asyncio.gather(*good)
        assert sorted(at.table.bodies) == sorted(f"good {number}".encode() for number in range(100))
        assert at.table.tried <= 2 * 7 + 1
        assert at.buffer.counts.unstorable == 1


async def test_a_full_disk_is_told_to_all_and_nothing_is_tried_again() -> None:
    async with world() as at:
        at.table.error = StorageFull("no room")
        sent = at.send(b"a", b"b", b"c")
        await at.clock.advance(1)
        assert [await failure(one) for one in sent] == ["storage-full"] * 3
        assert at.table.tried == 1
        at.table.error = None
        (later,) = at.send(b"d")
        await at.clock.advance(1)
        await later
        assert at.table.bodies == [b"d"]


async def test_an_engine_that_fails_in_a_new_way_does_not_end_the_buffer() -> None:
    async with world() as at:
        at.table.error = RuntimeError("surprise")
        (sent,) = at.send(b"a")
        await at.clock.advance(1)
        assert await failure(sent) == "overloaded"
        at.table.error = None
        (sent,) = at.send(b"b")
        await at.clock.advance(1)
        await sent


async def test_a_sender_that_gives_up_loses_nothing_of_others() -> None:
    async with world() as at:
        await at.spend_burst()
        first, second, third = at.send(b"a", b"b", b"c")
        await settle()
        second.cancel()
        await at.clock.advance(2)
        await asyncio.gather(first, third)
        assert at.table.bodies == [b"a", b"c"]
        assert at.buffer.counts.abandoned == 1


async def test_a_sender_that_gives_up_while_its_body_is_inserted_ends_nothing() -> None:
    async with world() as at:
        at.table.open.clear()
        first, second = at.send(b"a", b"b")
        await at.clock.advance(1)
        first.cancel()
        await settle()
        at.table.open.set()
        await second
        assert at.table.bodies == [b"a", b"b"]


async def test_at_the_end_all_that_waits_is_committed_and_nothing_more_is_taken() -> None:
    async with owned("test") as tasks:
        async with world() as at:
            await at.spend_burst()
            sent = [tasks.start("add", at.buffer.add(Signal.LOGS, b"waits")) for _ in range(3)]
            await settle()
            assert at.buffer.waiting == (3, 15)
            tasks.start("time", at.clock.advance(STEP))
        assert all(one.done() for one in sent)
        assert at.table.bodies == [b"waits"] * 3
        with pytest.raises(Overloaded):
            await at.buffer.add(Signal.LOGS, b"late")


@pytest.mark.parametrize(
    ("spent", "since", "age", "size", "bodies", "wait"),
    [
        (0, 0.0, 0.0, 10, 1, GATHER),
        (0, 0.0, GATHER, 10, 1, 0.0),
        (BURST, 0.0, 0.4, 10, 1, 1.0),
        (BURST, 0.7, 0.4, 10, 1, 0.3),
        (BURST, 1.0, 0.0, 10, 1, GATHER),
        (BURST, 0.0, 0.0, FLUSH_BYTES, 1, 0.0),
        (BURST, 0.0, 0.0, 10, FLUSH_BODIES, 0.0),
        (BURST, 0.0, 100.0, 10, 1, 1.0),
    ],
)
def test_the_pace(spent: int, since: float, age: float, size: int, bodies: int, wait: float) -> None:
    start = Instant(100.0)
    pace = Pace(2.0, start)
    for _ in range(spent):
        pace.flushed(start)
    now = Instant(start + since)
    assert pace.wait(now, Instant(now - age), size, bodies) == pytest.approx(wait)


def test_a_slow_engine_is_asked_less_often() -> None:
    now = Instant(100.0)
    pace = Pace(1.0, now)
    for took, wait in ((0.01, 0.5), (0.2, 0.8), (5.0, 1.0), (0.05, 0.5)):
        for _ in range(BURST + 1):
            pace.flushed(now)
        pace.took(took)
        assert pace.wait(now, Instant(now - 9), 10, 1) == pytest.approx(wait)
