"""A load against a real socket: everything that is asked is written down, and nothing is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from atoll.drill.aim import Aim, Place, by_path
from atoll.drill.history import NO_ANSWER
from atoll.drill.load import CONNECTION_LIMIT, Load, ask_once, within_limits
from atoll.errors import InvalidValue
from atoll.kit.clock import SystemClock
from tests.serving import Handler, serving

CLOCK = SystemClock()


@asynccontextmanager
async def server(serve: Handler) -> AsyncIterator[Aim]:
    async with serving(serve) as port:
        yield by_path("/x", Place("127.0.0.1", port), way="mesh")


def says(answer: bytes) -> Handler:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer)
            await writer.drain()

    return serve


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body)}\r\n{named}\r\n".encode() + body


PROBLEM = b'{"type":"urn:atoll:error:no-instance","code":"no-instance"}'
KIND = "application/problem+json"


@pytest.mark.parametrize(
    ("answer", "status", "lost", "code"),
    [
        (http(200, b"hello"), 200, False, ""),
        (http(404, b'{"code":"no_such_order"}', content_type=KIND), 404, False, ""),
        (http(503, PROBLEM, content_type=KIND), 503, True, "no-instance"),
        (http(503, b'{"type":"about:blank","code":"payments_unavailable"}', content_type=KIND), 503, True, ""),
        (http(503, b"[1]", content_type=KIND), 503, True, ""),
        (http(500, b"\xff{", content_type=KIND), 500, True, ""),
        (http(200, grpc_status="14"), 200, True, ""),
        (http(200, grpc_status="14", grpc_message="no-stock (b): sold"), 200, True, ""),
        (http(503, grpc_status="14", grpc_message="breaker-open (b-2): It is"), 503, True, "breaker-open"),
        (http(503, grpc_status="14", grpc_message="Sold out: (b)"), 503, True, ""),
        (http(200, grpc_status="0"), 200, False, ""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ngrpc-status: 7\r\n\r\n", 200, True, ""),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", 200, False, ""),
    ],
)  # fmt: skip
async def test_an_answer_is_what_its_status_says_or_its_grpc_status(
    answer: bytes, status: int, lost: bool, code: str
) -> None:
    async with server(says(answer)) as aim:
        asked = await ask_once(aim, CLOCK)
    assert (asked.status, asked.lost, asked.code) == (status, lost, code)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "ConnectionResetError"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "ConnectionResetError"),
        (b"SSH-2.0-what\r\n\r\n", "HttpParser"),
    ],
)
async def test_an_answer_that_does_not_come_whole_is_none(answer: bytes, error: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with server(serve) as aim:
        asked = await ask_once(msgspec.structs.replace(aim, traced=True), CLOCK)
    assert (asked.status, asked.lost) == (NO_ANSWER, True)
    assert asked.error.startswith(error)
    assert len(asked.trace) == 32, "it can be looked up"


async def test_what_was_given_in_the_place_of_a_service_is_written_down() -> None:
    async with server(says(http(200, x_fallback="last-good"))) as aim:
        assert (await ask_once(aim, CLOCK)).fallback == "last-good"


async def test_nobody_there_and_nobody_answering_are_lost_requests() -> None:
    async with server(says(b"")) as aim:
        assert (await ask_once(aim, CLOCK, timeout=0.05)).error == "timeout"
    assert (await ask_once(aim, CLOCK)).error == "ConnectionRefusedError"


async def test_a_load_sends_what_is_due_also_while_nobody_answers() -> None:
    async with server(says(b"")) as aim:
        load = Load(aim, CLOCK, rate=CONNECTION_LIMIT * 10.0, began=CLOCK.now(), timeout=0.6)
        await load.run(0.2)
    assert len(load.requests) == CONNECTION_LIMIT
    assert load.unsent == CONNECTION_LIMIT
    assert all(one.error == "timeout" for one in load.requests)


async def test_connections_are_kept_and_every_request_is_written_down() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await says(http(200))(reader, writer)

    async with server(serve) as aim:
        load = Load(aim, CLOCK, rate=100.0, began=CLOCK.now())
        await load.run(0.3)
    assert len(load.requests) == 30
    assert not any(one.lost for one in load.requests)
    assert connections < 15


@pytest.mark.parametrize(
    ("rate", "duration"), [(0.5, 10), (501, 10), (float("nan"), 10), (50, 1), (50, 61), (50, float("inf"))]
)
def test_a_load_beyond_its_limits_is_refused(rate: float, duration: float) -> None:
    with pytest.raises(InvalidValue):
        within_limits(rate, duration)
