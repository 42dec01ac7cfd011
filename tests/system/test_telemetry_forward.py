"""The control plane hands questions about telemetry on; here the other side is a socket that misbehaves as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from atoll.server import forward
from tests.serving import serving
from tests.system.api_stage import Plane, plane_at, settings_in, until

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class FakeTelemetry:
    """Listens where the telemetry process would."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.open = 0
        self.behave: Behaviour = says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            length = [line for line in head.split("\r\n") if line.lower().startswith("content-length:")]
            self.bodies.append(await reader.readexactly(int(length[0].split(":")[1])) if length else b"")
            await self.behave(reader, writer)
        finally:
            self.open -= 1


def says(*pieces: bytes) -> Behaviour:
    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return behave


async def nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane_at(settings_in(tmp_path, ATOLL_TELEMETRY_QUERY_TIME="0.2")) as found:
        yield found


@pytest.fixture
async def telemetry(plane: Plane) -> AsyncIterator[FakeTelemetry]:
    fake = FakeTelemetry()
    async with serving(fake.serve, plane.serving.control.settings.telemetry_socket):
        yield fake


def is_unavailable(response: httpx2.Response) -> bool:
    assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")
    problem = response.json()
    assert problem["hint"]
    assert int(response.headers["retry-after"]) > 0
    return bool(problem["code"] == "telemetry-unavailable")


async def test_a_question_goes_on_with_its_query_and_the_answer_comes_back(
    plane: Plane, telemetry: FakeTelemetry
) -> None:
    telemetry.behave = says(
        b"HTTP/1.1 422 Unprocessable\r\nContent-Type: application/problem+json\r\nSet-Cookie: a=b\r\nServer: x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        b'4\r\n{"a"\r\n',
        b"3\r\n:1}\r\n0\r\n\r\n",
    )
    path = "/api/v1/traces?text=%20%0d%0a&attribute=a:b%26c"
    answer = await plane.http.get(path, headers={"X-Evil": "1", "Cookie": "c", "Accept": "text/x"})
    assert (answer.status_code, answer.json()) == (422, {"a": 1})
    assert answer.headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = telemetry.heads[0].lower()
    assert head.startswith("get /api/v1/traces?text=%20%0d%0a&attribute=a:b%26c http/1.1\r\n")
    assert "accept: text/x" in head
    assert not any(name in head for name in ("x-evil", "cookie", "authorization", plane.token.lower()))


async def test_nothing_is_forwarded_without_the_token_or_for_another_site(
    plane: Plane, telemetry: FakeTelemetry
) -> None:
    for headers, status in (
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
    ):
        assert (await plane.http.get("/api/v1/traces", headers=headers)).status_code == status
    assert (await plane.http.put("/api/v1/traces")).status_code == 405
    assert telemetry.heads == []


async def test_telemetry_that_is_away_is_503_with_a_hint(plane: Plane) -> None:
    assert is_unavailable(await plane.http.get("/api/v1/traces"))
    plane.serving.control.settings.telemetry_socket.touch()  # left over, nobody listens
    assert is_unavailable(await plane.http.get("/api/v1/map"))
    assert (await plane.http.get("/api/v1/status")).status_code == 200


async def test_telemetry_that_is_switched_off_says_so(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path, ATOLL_TELEMETRY_ENABLED="false")) as plane:
        answer = await plane.http.get("/api/v1/traces")
        assert is_unavailable(answer)
        assert "switched off" in answer.json()["detail"]


async def test_telemetry_that_hangs_is_given_up(
    plane: Plane, telemetry: FakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "SPARE", 0.1)
    telemetry.behave = nothing
    assert is_unavailable(await plane.http.get("/api/v1/traces"))
    await until(lambda: telemetry.open == 0)
    assert plane.serving.control.forwarding == 0


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\x00\xff\x00\xff\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 200_000 + b"\r\n\r\n",
    ],
    ids=["hangs up", "dies in the head", "another protocol", "noise", "many headers", "no chunk", "a long header"],
)
async def test_what_is_no_answer_is_503(plane: Plane, telemetry: FakeTelemetry, said: bytes) -> None:
    telemetry.behave = says(said)
    assert is_unavailable(await plane.http.get("/api/v1/traces"))


@pytest.mark.parametrize(
    "said",
    [
        b"content-length: 100\r\n\r\n{",
        b"transfer-encoding: chunked\r\n\r\n5\r\nabc",
    ],
    ids=["length", "chunk"],
)
async def test_an_answer_that_breaks_off_is_never_taken_for_a_whole_one(
    plane: Plane, telemetry: FakeTelemetry, said: bytes
) -> None:
    telemetry.behave = says(b"HTTP/1.1 200 OK\r\n" + said)
    with pytest.raises(httpx2.RemoteProtocolError):
        await plane.http.get("/api/v1/traces")
    assert plane.serving.control.forwarding == 0
    assert (await plane.http.get("/api/v1/status")).status_code == 200


async def test_an_answer_that_falls_silent_is_broken_off(
    plane: Plane, telemetry: FakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "IDLE", 0.1)

    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
        await reader.read()

    telemetry.behave = drips
    with pytest.raises(httpx2.RemoteProtocolError):
        await plane.http.get("/api/v1/traces")
    await until(lambda: telemetry.open == 0)


async def test_an_endless_answer_is_broken_off_at_its_limit(
    plane: Plane, telemetry: FakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "ANSWER_BYTES", 1 << 20)

    async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    telemetry.behave = floods
    size = 0
    with pytest.raises(httpx2.RemoteProtocolError):
        async with plane.http.stream("GET", "/api/v1/traces") as answer:
            async for piece in answer.aiter_bytes():
                size += len(piece)
    assert size <= 1 << 20
    await until(lambda: telemetry.open == 0)


async def test_a_large_answer_comes_whole_and_is_not_gathered_here(plane: Plane, telemetry: FakeTelemetry) -> None:
    """Nobody reads for a while: then the sender must stand still, for nobody in between keeps 32 MiB."""
    sent = 0

    async def large(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (32 << 20))
        for _piece in range(512):
            writer.write(b"y" * 65536)
            await writer.drain()
            sent += 65536

    telemetry.behave = large
    async with plane.http.stream("GET", "/api/v1/traces") as answer:
        pieces = answer.aiter_raw()
        size = len(await anext(pieces))
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 24 << 20
        async for piece in pieces:
            size += len(piece)
    assert size == 32 << 20


async def test_events_pass_as_they_come_and_count_as_watchers(plane: Plane, telemetry: FakeTelemetry) -> None:
    more = asyncio.Event()

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"9\r\ndata: 1\n\n\r\n")
        await more.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n")
        await reader.read()

    telemetry.behave = events
    control = plane.serving.control
    async with plane.http.stream("GET", "/api/v1/traces", headers={"Accept": "text/event-stream"}) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "data: 1"
        assert (control.counts.watchers, control.forwarding) == (1, 1)
        more.set()
        assert await anext(lines) == ""
        assert await anext(lines) == "data: 2"
    await until(lambda: telemetry.open == 0)
    assert (control.counts.watchers, control.forwarding) == (0, 0)


async def test_a_client_that_leaves_frees_its_place_and_ends_the_question(
    plane: Plane, telemetry: FakeTelemetry
) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
        await reader.read()

    telemetry.behave = slow
    async with plane.http.stream("GET", "/api/v1/traces") as answer:
        assert answer.status_code == 200
        assert plane.serving.control.forwarding == 1
    await until(lambda: telemetry.open == 0 and plane.serving.control.forwarding == 0)


async def test_only_so_many_questions_are_forwarded_at_a_time(
    plane: Plane, telemetry: FakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "FORWARDED", 2)
    telemetry.behave = nothing
    waiting = [asyncio.ensure_future(plane.http.get("/api/v1/traces")) for _ in range(2)]
    await until(lambda: telemetry.open == 2)
    refused = await plane.http.get("/api/v1/traces")
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_query_string_with_raw_bytes_is_refused(plane: Plane, telemetry: FakeTelemetry) -> None:
    port = plane.serving.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /api/v1/traces?text=\xe9 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Authorization: Bearer " + plane.token.encode() + b"\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert telemetry.heads == []
