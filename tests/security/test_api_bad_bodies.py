"""Bodies and headers made to hurt, over real sockets: each is refused in a moment, the limit is named, nothing is done."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atoll.server.protocol import HEADER_BYTES, HEADER_COUNT
from tests.system.api_stage import Plane, plane_at, settings_in

PATH = "/api/v1/services/s/instances/i"
LIMIT = 1 << 20
DEEP = 10_000
SILENT = 20.0
"""Seconds until a server that says nothing has failed; a bound against hanging."""
WORK = 0.5
"""Seconds of processor time, ours and the server's together, that one bomb may take; none takes a twentieth of it."""
BOMBS: dict[str, tuple[bytes, int, str]] = {
    "nested arrays": (b'{"port":1,"metadata":' + b"[" * DEEP + b"]" * DEEP + b"}", 422, "metadata"),
    "nested objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, 422, "unknown field"),
    "never closed": (b'{"port":1,"tags":' + b"[" * DEEP, 422, "tags"),
    "a key twice": (b'{"port":1,"port":2}', 400, "twice"),
    "1e400": (b'{"port":1,"ttl":1e400}', 422, "ttl"),
    "-1e400": (b'{"port":1,"ttl":-1e400}', 422, "ttl"),
    "NaN": (b'{"port":1,"ttl":NaN}', 400, "JSON"),
    "Infinity": (b'{"port":1,"ttl":Infinity}', 400, "JSON"),
    "a number of a million digits": (b'{"port":' + b"9" * 1_000_000 + b"}", 422, "port"),
    "a BOM": (b'\xef\xbb\xbf{"port":1}', 400, "JSON"),
    "UTF-16": ('{"port":1}'.encode("utf-16"), 400, "JSON"),
    "bad UTF-8": (b'{"port":1,"version":"\xc0\xaf"}', 400, "JSON"),
    "half a surrogate pair": (b'{"port":1,"version":"\\ud800"}', 400, "JSON"),
    "trailing data": (b'{"port":1} {"port":2}', 400, "JSON"),
    "a NUL after the end": (b'{"port":1}\x00', 400, "JSON"),
    "5 MB in a string": (b'{"port":1,"version":"' + b"x" * (5 << 20) + b'"}', 413, str(LIMIT)),
    "a string of the limit": (b'{"port":1,"version":"' + b"x" * (LIMIT - 100) + b'"}', 422, "version"),
    "a million keys": (b"{" + b",".join(b'"%d":1' % number for number in range(80_000)) + b"}", 422, "field"),
}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane_at(settings_in(tmp_path)) as found:
        yield found


def head(plane: Plane, *lines: str) -> bytes:
    """A request up to its body."""
    said = [f"PUT {PATH} HTTP/1.1", "Host: localhost", f"X-Atoll-Token: {plane.token}", *lines]
    return "\r\n".join([*said, "", ""]).encode()


async def talk(plane: Plane, *pieces: bytes, trickle: bytes = b"", answers: int = 1, close: bool = False) -> bytes:
    """Send the pieces, then `trickle` for ever; read until that many answers are whole, or the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.serving.port)
    found = b""

    async def send() -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        if close:
            writer.write_eof()
        while trickle:
            writer.write(trickle)
            await asyncio.sleep(0.05)

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(SILENT):
            while whole(found) < answers and (data := await reader.read(65536)):
                found += data
    except OSError:
        pass  # hung up on while we still sent
    finally:
        sending.cancel()
        await asyncio.wait([sending])
        writer.transport.abort()
    return found


def whole(answers: bytes) -> int:
    """How many whole answers there are, those that only say *continue* aside."""
    count = 0
    while b"\r\n\r\n" in answers:
        head, _, rest = answers.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        count += len(rest) >= size and not head.startswith(b"HTTP/1.1 1")
        answers = rest[size:]
    return count


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def nothing_was_done(plane: Plane) -> bool:
    return not plane.serving.control.registry.facts.snapshot.instances


@pytest.mark.parametrize("name", BOMBS)
async def test_a_body_that_is_a_bomb_is_refused_with_its_reason_and_the_platform_goes_on(
    plane: Plane, name: str
) -> None:
    content, status, said = BOMBS[name]
    began = time.thread_time()
    answer = await plane.http.put(PATH, content=content)
    worked = time.thread_time() - began
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert len(answer.content) < 2000
    assert (await plane.ask("GET", "/livez")).status_code == 200
    assert worked < WORK, "it blocks the loop"
    assert nothing_was_done(plane)


@pytest.mark.parametrize(
    "content",
    [b'{"name":"s","x":' + b"[" * DEEP + b"]" * DEEP + b"}", b'{"name":"s","x":' + b'{"a":' * DEEP, b"[" * DEEP],
)
async def test_nesting_without_an_end_is_refused_wherever_it_hides(plane: Plane, content: bytes) -> None:
    for method, path in (("PUT", "/api/v1/services/s"), ("POST", "/api/v1/project/apply")):
        answer = await plane.http.request(method, path, content=content)
        assert answer.status_code in {400, 422}
        assert len(answer.content) < 2000
    assert not plane.serving.control.registry.facts.snapshot.services


async def test_a_body_that_trickles_is_408_at_its_limit_though_it_never_stops(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.server.body.read.__kwdefaults__", {"seconds": 0.3})
    found = await talk(plane, head(plane, "Content-Length: 1000"), trickle=b" ")
    assert statuses(found) == [408]
    assert b"0.3 s" in found
    assert nothing_was_done(plane)


async def test_a_chunked_body_that_never_ends_is_413_and_names_the_limit(plane: Plane) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    found = await talk(plane, head(plane, "Transfer-Encoding: chunked"), *[chunk] * 200)
    assert statuses(found) in ([413], [])  # without an answer: hung up while we still sent
    if found:
        assert str(LIMIT).encode() in found
    status = (await plane.ask("GET", "/api/v1/status")).json()
    assert status["refusals"] == {"too-large": 1}
    assert nothing_was_done(plane)


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"1" * 70_000 + b"\r\n", b"5\r\nabc\r\n"]
)
async def test_a_chunk_that_is_none_is_refused(plane: Plane, chunk: bytes) -> None:
    found = await talk(plane, head(plane, "Transfer-Encoding: chunked"), chunk, close=True)
    assert all(400 <= status < 500 for status in statuses(found)), found[:200]
    assert nothing_was_done(plane)


@pytest.mark.parametrize("length", ["-1", "+10", "0x10", "1e3", "10, 10", "", "ten", "9" * 40])
async def test_a_length_that_is_none_is_refused(plane: Plane, length: str) -> None:
    found = await talk(plane, head(plane, f"Content-Length: {length}"), b'{"port":1}', close=True)
    assert statuses(found)
    assert all(400 <= status < 500 for status in statuses(found)), found[:200]
    assert nothing_was_done(plane)


async def test_a_length_that_says_more_than_comes_is_no_request(plane: Plane) -> None:
    found = await talk(plane, head(plane, "Content-Length: 500"), b'{"port":9001}', close=True)
    assert statuses(found) in ([], [400])
    assert nothing_was_done(plane)


async def test_a_length_that_says_less_than_comes_makes_no_second_request_of_the_rest(plane: Plane) -> None:
    smuggled = b"DELETE /api/v1/services/s HTTP/1.1\r\n\r\n"
    found = await talk(plane, head(plane, "Content-Length: 10"), b'{"port":1}' + smuggled, answers=2)
    first, *rest = statuses(found)
    assert first in {201, 422}
    assert rest in ([400], [403]), "without Host and token it is nobody's"


async def test_more_than_the_limit_is_refused_before_it_comes(plane: Plane) -> None:
    found = await talk(plane, head(plane, f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"))
    assert statuses(found)[-1:] == [413]
    assert str(LIMIT).encode() in found


@pytest.mark.parametrize(
    ("lines", "limit"),
    [
        ([f"X-Long: {'a' * HEADER_BYTES}"], HEADER_BYTES),
        ([f"X-{'n' * HEADER_BYTES}: a"], HEADER_BYTES),
        ([f"X-{number}: {'a' * 1000}" for number in range(90)], HEADER_BYTES),
        ([f"X-{number}: a" for number in range(HEADER_COUNT + 1)], HEADER_COUNT),
    ],
    ids=["a long value", "a long name", "much in all", "too many"],
)
async def test_headers_over_their_limit_are_431_and_the_limit_is_named(
    plane: Plane, lines: list[str], limit: int
) -> None:
    found = await talk(plane, head(plane, *lines, "Content-Length: 0"))
    assert statuses(found) == [431]
    problem = json.loads(found.partition(b"\r\n\r\n")[2])
    assert (problem["code"], problem["status"], problem["limit"]) == ("headers-too-large", 431, limit)
    assert str(limit) in problem["detail"]


async def test_a_path_over_the_limit_is_431(plane: Plane) -> None:
    found = await talk(plane, b"GET /" + b"a" * HEADER_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert statuses(found) == [431]


async def test_headers_of_just_the_limit_are_taken(plane: Plane) -> None:
    answer = await plane.ask("GET", "/api/v1/status", headers={"X-Long": "a" * (HEADER_BYTES - 1000)})
    assert answer.status_code == 200
