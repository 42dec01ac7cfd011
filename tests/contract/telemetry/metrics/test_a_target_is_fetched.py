"""One GET of a target over a real socket: whatever it answers, time and memory are bounded."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.telemetry.metrics.fetch import BODY_LIMIT, Fetcher, NoAnswer
from atoll.telemetry.metrics.target import Target
from tests.serving import serving

TRACE = f"00-{'a' * 32}-{'b' * 16}-00"
Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def web(handler: Handler, socket: Path | None = None) -> AsyncIterator[Target]:
    """A server that gives each request's head to `handler`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(await reader.readuntil(b"\r\n\r\n"), writer)
        await writer.drain()

    async with serving(serve, socket) as port:
        if socket is not None:
            yield Target("cart", "cart-1", "", 0, socket=str(socket), token="secret")
        else:
            yield Target("cart", "cart-1", "127.0.0.1", port)


@pytest.fixture
async def fetch() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher()
    yield fetcher
    await fetcher.close()


def answering(body: bytes, *headers: str, status: str = "200 OK") -> Handler:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return handler


PLAIN = "Content-Type: text/plain; version=0.0.4"


async def test_a_page_is_asked_for_as_prometheus_asks_and_without_a_trace(fetch: Fetcher) -> None:
    heads: list[bytes] = []

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head.lower())
        await answering(b"up 1\n", PLAIN)(head, writer)

    async with web(handler) as target:
        answer = await fetch(target, TRACE)
    assert (answer.status, answer.text, answer.openmetrics, answer.is_page) == (200, "up 1\n", False, True)
    assert heads[0].startswith(b"get /metrics http/1.1")
    assert b"application/openmetrics-text" in heads[0]
    assert b"x-prometheus-scrape-timeout-seconds: 10" in heads[0]
    assert f"traceparent: {TRACE}".encode() in heads[0]
    assert b"authorization" not in heads[0]


async def test_our_own_parts_are_asked_over_their_socket_with_the_token(fetch: Fetcher, tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        await answering(b"up 1\n", PLAIN)(head, writer)

    async with web(handler, tmp_path / "s") as target:
        assert (await fetch(target, TRACE)).text == "up 1\n"
    assert b"Bearer secret" in heads[0]
    assert "secret" not in repr(target)


async def test_a_packed_page_is_inflated_and_bytes_that_are_no_text_are_replaced(fetch: Fetcher) -> None:
    packed = gzip.compress(b'a{b="\xff"} 1\n')
    async with web(answering(packed, PLAIN, "Content-Encoding: gzip")) as target:
        assert (await fetch(target, TRACE)).text == 'a{b="\ufffd"} 1\n'


async def test_a_page_that_is_too_large_is_refused_plain_or_packed(fetch: Fetcher) -> None:
    bomb = gzip.compress(b"a 1\n" * (BODY_LIMIT // 2), compresslevel=1)
    async with web(answering(bomb, PLAIN, "Content-Encoding: gzip")) as target:
        with pytest.raises(NoAnswer, match="more than"):
            await fetch(target, TRACE)

    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{PLAIN}\r\n\r\n".encode())
        while True:
            writer.write(b"a 1\n" * 65_536)
            await writer.drain()

    async with web(endless) as target:
        with pytest.raises(NoAnswer, match="more than"):
            await fetch(target, TRACE)


async def test_who_is_silent_or_drips_is_left_when_its_time_is_over(fetch: Fetcher) -> None:
    async def dripping(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{PLAIN}\r\n\r\n".encode())
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with web(dripping) as target:
        with pytest.raises(NoAnswer, match=r"within 0\.2 s"):
            await fetch(replace(target, timeout=0.2), TRACE)


async def test_a_redirect_is_not_followed(fetch: Fetcher) -> None:
    asked: list[bytes] = []

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(head)
        await answering(b"", "Location: /elsewhere", status="302 Found")(head, writer)

    async with web(handler) as target:
        assert (await fetch(target, TRACE)).status == 302
    assert len(asked) == 1


@pytest.mark.parametrize("said", [b"", b"no http at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
async def test_who_breaks_off_or_talks_nonsense_did_not_answer(fetch: Fetcher, said: bytes) -> None:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async with web(handler) as target:
        with pytest.raises(NoAnswer):
            await fetch(target, TRACE)
    with pytest.raises(NoAnswer):
        await fetch(target, TRACE)  # nobody listens there any more
