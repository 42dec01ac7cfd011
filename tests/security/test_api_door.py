"""The control API from outside: every route without a token, foreign pages, half requests, floods. Real sockets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atoll.server.app import ENDPOINTS
from tests.system.api_stage import Plane, plane_at, settings_in


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane_at(settings_in(tmp_path)) as found:
        yield found


async def talk(plane: Plane, content: bytes, *, seconds: float = 20.0) -> bytes:
    """Send bytes and read until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.serving.port)
    try:
        writer.write(content)
        return await asyncio.wait_for(reader.read(), seconds)
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


def filled(path: str) -> str:
    known = {
        "service": "orders",
        "instance": "o-1",
        "node": "n1",
        "trace": "abcd",
        "other_trace": "abce",
        "label": "job",
    }
    return path.format_map({**dict.fromkeys(re.findall(r"{(\w+)}", path), "r"), **known})


async def test_every_route_refuses_who_shows_no_token_or_a_wrong_one(plane: Plane) -> None:
    del plane.http.headers["authorization"]
    paths = [(one.method, filled(one.path), one.open) for one in ENDPOINTS]
    paths += [("GET", "/", False), ("GET", "/api/v1/nothing", False), ("DELETE", "/metrics", False)]
    for method, path, open_ in paths:
        for headers in ({}, {"Authorization": "Bearer " + "x" * 43}, {"X-Atoll-Token": plane.token[:-1]}):
            answer = await plane.ask(method, path, headers=headers)
            assert answer.status_code == (200 if open_ else 401), (method, path)
            if not open_:
                assert answer.json()["code"] == "unauthorized"
                assert plane.token not in answer.text
                assert "Bearer" in answer.headers["www-authenticate"]


async def test_every_route_refuses_other_hosts_and_origins_even_with_the_token(plane: Plane) -> None:
    for one in ENDPOINTS:
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            answer = await plane.ask(one.method, filled(one.path), headers=headers)
            assert answer.status_code == 403, (one.method, one.path, headers)
            assert "access-control-allow-origin" not in answer.headers


async def test_every_answer_forbids_framing_sniffing_and_storing(plane: Plane) -> None:
    for path in ("/livez", "/api/v1/status", "/nowhere"):
        answer = await plane.ask("GET", path)
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


async def test_every_refusal_of_every_route_is_a_problem_document(plane: Plane) -> None:
    for one in ENDPOINTS:
        answer = await plane.ask("PATCH", filled(one.path))
        assert answer.status_code == 405
        assert answer.headers["content-type"] == "application/problem+json"
        assert one.method in answer.headers["allow"]
        if one.body is not None:
            for content in (b"", b"{", b"null", b"[" * 9999, b'{"a":1,"a":2}'):
                refused = await plane.http.request(one.method, filled(one.path), content=content)
                if refused.status_code == 200:
                    raise AssertionError((one.path, content))
                assert 400 <= refused.status_code < 500, (one.path, content, refused.text)
                assert refused.json()["code"] in {"bad-request", "invalid-value", "invalid-name", "not-found"}


@pytest.mark.parametrize(
    "name", ["..", "a%0Ab", "a%00b", "A", "-", "a%25[src]", "a;b", "%1b[31m", "a%2Fb", "x" * 300, "é", "${HOME}", "a b"]
)
async def test_hostile_names_in_paths_are_refused_in_printable_words(plane: Plane, name: str) -> None:
    for path in (f"/api/v1/services/{name}/instances/i", f"/api/v1/services/s/instances/{name}/state"):
        answer = await plane.http.put(path, content=b'{"port":1}')
        assert 400 <= answer.status_code < 500
        assert json.dumps(answer.json()["detail"], ensure_ascii=False).isprintable()
    assert not plane.serving.control.registry.facts.snapshot.instances


async def test_a_body_over_the_limit_is_413_and_one_that_stalls_is_408(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/api/v1/services/s/instances/i"
    large = await plane.http.put(path, content=b" " * ((1 << 20) + 1))
    assert large.status_code == 413

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65536

    try:
        answer = await plane.http.put(path, content=endless())
        assert answer.status_code == 413
    except Exception as error:  # noqa: BLE001 -- the server may hang up while we still send
        assert type(error).__name__ in {"WriteError", "ReadError", "RemoteProtocolError"}
    monkeypatch.setattr("atoll.server.body.read.__kwdefaults__", {"seconds": 0.2})
    head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nX-Atoll-Token: {plane.token}\r\nConnection: close\r\n"
    found = await talk(plane, f"{head}Content-Length: 100\r\n\r\n{{".encode())
    assert b" 408 " in found.split(b"\r\n")[0]
    assert b"request-timeout" in found


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-A: a\r\n" * 500 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["long header", "many headers", "long path", "TLS", "odd version", "two lengths", "length and chunks"],
)
async def test_what_is_not_clean_http_is_refused_in_json(plane: Plane, content: bytes) -> None:
    found = await talk(plane, content)
    assert found == b"" or found.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    status = (await plane.ask("GET", "/api/v1/status")).json()
    if found:
        code = json.loads(found.partition(b"\r\n\r\n")[2])["code"]
        assert code == ("headers-too-large" if b" 431 " in found[:16] else "bad-request")
        assert status["refusals"] == {code: 1}
    else:
        assert status["refusals"] == {}


async def test_a_connection_that_says_nothing_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.server.protocol.HEADER_SECONDS", 0.2)
    async with plane_at(settings_in(tmp_path)) as plane:
        assert await talk(plane, b"") == b""
        assert await talk(plane, b"GET / HTTP/1.1\r\nX-Slow: ") == b""


async def test_more_requests_at_once_than_the_limit_are_shed(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.server.app.IN_PROGRESS", 0)
    answer = await plane.ask("GET", "/api/v1/status")
    assert answer.status_code == 503
    assert answer.json()["code"] == "overloaded"
    assert answer.headers["retry-after"] == "1"
    assert (await plane.ask("GET", "/livez")).status_code == 200


async def test_an_exception_in_a_handler_is_500_without_a_trace(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("/etc/secret " + plane.token)

    monkeypatch.setattr(plane.serving.control.registry.nodes, "all", broken)
    answer = await plane.ask("GET", "/api/v1/status")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
