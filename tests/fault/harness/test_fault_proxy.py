"""FaultProxy breaks what it is told to break, while it runs, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from atoll.testing import FakeClock, FaultProxy, settle
from atoll.testing.fault_proxy import CHUNK, CONNECTION_LIMIT, Direction, Place
from tests.fault.checks.schedule import until
from tests.serving import serving

T = TypeVar("T")


@asynccontextmanager
async def echo(path: Path | None = None) -> AsyncIterator[Place]:
    """A server that sends back what it gets, and ends when its client does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async with serving(serve, path) as port:
        yield path or ("127.0.0.1", port)


@asynccontextmanager
async def through(proxy: FaultProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def still_waiting(work: Awaitable[T]) -> asyncio.Future[T]:
    """Start `work`, let everything else run, and see that it is not done."""
    waiting = asyncio.ensure_future(work)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    return waiting


async def test_without_faults_every_byte_passes_unchanged_and_is_counted() -> None:
    sent = bytes(range(256)) * 2000
    async with echo() as place, FaultProxy(place) as proxy, through(proxy) as (reader, writer):
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        assert proxy.to_server.passed == proxy.to_client.passed == len(sent)
        assert (proxy.counts.connections, proxy.counts.open, proxy.counts.resets) == (1, 1, 0)


async def test_the_end_of_one_side_reaches_the_other() -> None:
    async with echo() as place, FaultProxy(place) as proxy, through(proxy) as (reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        assert await reader.read() == b"last words"


async def test_a_unix_socket_is_proxied_to_a_unix_socket(tmp_path: Path) -> None:
    async with echo(tmp_path / "up") as place, FaultProxy(place, listen=tmp_path / "down") as proxy:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "down"))
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert proxy.address == tmp_path / "down"
        writer.close()


async def test_delay_keeps_every_chunk_back_for_its_seconds() -> None:
    clock = FakeClock()
    async with echo() as place, FaultProxy(place, clock=clock) as proxy, through(proxy) as (reader, writer):
        proxy.to_client.delay = 5.0
        writer.write(b"slow")
        answer = await still_waiting(reader.read(10))
        await until(lambda: clock.sleepers > 0, "the answer is kept back")
        await clock.advance(4.9)
        assert not answer.done()
        await clock.advance(0.2)
        assert await answer == b"slow"


async def test_rate_spaces_the_chunks_of_a_long_answer() -> None:
    clock = FakeClock()
    async with echo() as place, FaultProxy(place, clock=clock) as proxy, through(proxy) as (reader, writer):
        proxy.to_client.rate = CHUNK / 10
        writer.write(b"x" * CHUNK)
        await reader.readexactly(CHUNK)
        writer.write(b"y")
        more = await still_waiting(reader.read(1))
        await until(lambda: clock.sleepers > 0, "what comes next is kept back")
        await clock.advance(10.1)
        assert await more == b"y"


async def test_a_black_hole_is_silent_and_loses_nothing_when_it_heals() -> None:
    async with echo() as place, FaultProxy(place) as proxy, through(proxy) as (reader, writer):
        proxy.black_hole()
        writer.write(b"are you there?")
        answer = await still_waiting(reader.read(100))
        assert proxy.to_server.passed == 0
        proxy.heal()
        assert await answer == b"are you there?"


async def test_a_black_hole_hides_the_end_of_the_server_too() -> None:
    async with echo() as place, FaultProxy(place) as proxy, through(proxy) as (reader, writer):
        proxy.to_client.black_hole = True
        writer.write_eof()
        end = await still_waiting(reader.read())
        proxy.heal()
        assert await end == b""


async def test_a_cut_ends_the_connection_after_exactly_n_bytes() -> None:
    async with echo() as place, FaultProxy(place) as proxy, through(proxy) as (reader, writer):
        proxy.to_client.cut_after = 3
        writer.write(b"abcdef")
        assert await reader.read() == b"abc"
        assert proxy.counts.cuts == 1


async def test_a_cut_counts_bytes_over_the_chunks_of_one_connection() -> None:
    async with echo() as place, FaultProxy(place) as proxy:
        proxy.to_client.cut_after = 8
        for _ in range(2):
            async with through(proxy) as (reader, writer):
                writer.write(b"12345")
                assert await reader.readexactly(5) == b"12345"
                writer.write(b"67890")
                assert await reader.read() == b"678"


async def test_half_an_answer_is_half_an_answer() -> None:
    async with echo() as place, FaultProxy(place) as proxy, through(proxy) as (reader, writer):
        proxy.to_client.half = True
        writer.write(b"HTTP/1.1 200 OK\r\n")
        assert await reader.read() == b"HTTP/1.1"


async def test_a_reset_is_an_error_and_not_an_end() -> None:
    async with echo() as place, FaultProxy(place) as proxy, through(proxy) as (reader, writer):
        proxy.to_client.cut_after, proxy.to_client.reset = 0, True
        writer.write(b"hello")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert (proxy.counts.resets, proxy.counts.cuts) == (1, 0)


async def test_reset_all_resets_what_is_open_and_lets_new_connections_in() -> None:
    async with echo() as place, FaultProxy(place) as proxy:
        async with through(proxy) as (reader, writer):
            writer.write(b"1")
            await reader.readexactly(1)
            assert proxy.reset_all() == 1
            with pytest.raises(ConnectionResetError):
                await reader.read()
        async with through(proxy) as (reader, writer):
            writer.write(b"2")
            assert await reader.readexactly(1) == b"2"


async def test_garbage_stands_in_for_every_chunk_until_it_is_healed() -> None:
    async with echo() as place, FaultProxy(place) as proxy, through(proxy) as (reader, writer):
        proxy.to_client.garbage = b"\x00\xff<html>"
        writer.write(b"question")
        assert await reader.readexactly(8) == b"\x00\xff<html>"
        proxy.heal()
        writer.write(b"question")
        assert await reader.readexactly(8) == b"question"
        assert proxy.counts.garbled == 1


async def test_refuse_resets_new_connections_and_leaves_open_ones_alone() -> None:
    async with echo() as place, FaultProxy(place) as proxy, through(proxy) as (reader, writer):
        writer.write(b"1")
        await reader.readexactly(1)
        proxy.refuse = True
        async with through(proxy) as (refused, _):
            with pytest.raises(ConnectionResetError):
                await refused.read()
        writer.write(b"2")
        assert await reader.readexactly(1) == b"2"
        assert proxy.counts.refused == 1


async def test_an_upstream_that_is_not_there_resets_the_client() -> None:
    async with echo() as place:
        pass
    async with FaultProxy(place) as proxy, through(proxy) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert proxy.counts.refused == 1


async def test_an_upstream_that_dies_ends_the_client_too() -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with serving(die) as port, FaultProxy(("127.0.0.1", port)) as proxy, through(proxy) as (reader, writer):
        writer.write(b"x")
        assert await reader.read() == b""


async def test_faults_of_one_direction_leave_the_other_alone() -> None:
    async with echo() as place, FaultProxy(place) as proxy, through(proxy) as (_, writer):
        proxy.to_client.black_hole = True
        writer.write(b"hello")
        while proxy.to_server.passed < 5:
            await settle()
            await asyncio.sleep(0.001)
        assert proxy.to_client.passed == 0


async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    async with echo() as place:
        with pytest.raises(KeyError, match="mine"):
            async with FaultProxy(place):
                raise KeyError("mine")


def test_healing_a_direction_leaves_no_fault() -> None:
    way = Direction(delay=1.0, rate=1.0, cut_after=0, reset=True, half=True, garbage=b"x")
    way.black_hole = True
    way.heal()
    assert way == Direction(_flowing=way._flowing)
    assert not way.black_hole
    assert CONNECTION_LIMIT == 1000
