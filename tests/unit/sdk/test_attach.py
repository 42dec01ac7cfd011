"""An app with a life around it, driven as an ASGI server does, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from atoll import attach
from atoll.errors import InvalidName, InvalidValue
from atoll.sdk.attach import Message, Receive, Scope, Send
from atoll.sdk.health import FRESH, LIMIT, Checks
from atoll.testing import FakeClock, settle


class Server:
    """What a server says to an app over its lifespan."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.said: list[str] = []
        self._messages: asyncio.Queue[Message] = asyncio.Queue()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        living = asyncio.ensure_future(self.app({"type": "lifespan"}, self._messages.get, self._say))
        await self._tell("lifespan.startup")
        yield
        await self._tell("lifespan.shutdown")
        await living

    async def _tell(self, kind: str) -> None:
        await self._messages.put({"type": kind})
        async with asyncio.timeout(5):
            while f"{kind}.complete" not in self.said:  # noqa: ASYNC110  turns of the loop are what it waits for
                await asyncio.sleep(0)

    async def _say(self, message: Message) -> None:
        self.said.append(message["type"])

    async def get(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        sent: list[Message] = []

        async def say(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", "root_path": ""}
        await self.app(scope, self._messages.get, say)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that knows nothing of lifespans, as Django's."""
    if scope["type"] != "http":
        raise ValueError("only http")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"plain"})


def starlette(events: list[str]) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        events.append("began")
        yield
        events.append("ended")

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    return Starlette(routes=[Route("/", hello)], lifespan=lifespan)


async def test_an_app_that_takes_middleware_is_served_as_before_and_has_a_life() -> None:
    events: list[str] = []
    app = starlette(events)
    node = attach(app, environ={})
    server = Server(app)
    async with server.running():
        assert events == ["began"]
        assert node.life is not None
        assert await server.get("/") == (200, b"hello")
        assert (await server.get("/livez"))[0] == 200
        assert (await server.get("/readyz"))[0] == 200
    assert events == ["began", "ended"]
    assert node.life is None


async def test_any_other_app_is_served_by_what_attach_returns_even_one_without_lifespans() -> None:
    node = attach(plain, environ={})
    server = Server(node)
    async with server.running():
        assert node.life is not None
        assert await server.get("/x") == (200, b"plain")
        assert (await server.get("/readyz"))[0] == 200
    assert server.said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_an_app_that_fails_to_start_fails_as_it_did_before() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise RuntimeError("no database")

    server = Server(attach(broken, environ={}))
    living = asyncio.ensure_future(server.app({"type": "lifespan"}, server._messages.get, server._say))
    await server._messages.put({"type": "lifespan.startup"})
    with pytest.raises(RuntimeError, match="no database"):
        await living


async def test_readiness_is_what_the_named_checks_say() -> None:
    clock = FakeClock()
    node = attach(plain, environ={}, clock=clock)
    healthy = True

    @node.ready("database")
    async def database() -> bool:
        return healthy

    @node.ready("cache")
    def cache() -> bool:
        if not healthy:
            raise ConnectionError("password=hunter2")
        return True

    server = Server(node)
    status, body = await server.get("/readyz")
    assert (status, json.loads(body)["checks"]) == (200, {"database": "ok", "cache": "ok"})
    healthy = False
    await clock.advance(FRESH)
    status, body = await server.get("/readyz")
    said = json.loads(body)
    assert (status, said["status"]) == (503, "not-ready")
    assert said["checks"] == {"database": "failed", "cache": "ConnectionError"}
    assert b"hunter2" not in body
    assert await server.get("/readyz", "HEAD") == (503, b"")
    assert (await server.get("/livez"))[0] == 200, "who is not ready is alive"


async def test_the_paths_can_be_others_or_none_and_other_methods_reach_the_app() -> None:
    server = Server(attach(plain, environ={}, livez="/alive", readyz=None))
    assert (await server.get("/alive"))[1] != b"plain"
    for path in ("/livez", "/readyz", "/alive/x"):
        assert (await server.get(path))[1] == b"plain"
    assert (await server.get("/alive", "POST"))[1] == b"plain"


async def test_checks_are_asked_once_however_many_want_to_know() -> None:
    clock, asked, go = FakeClock(), 0, asyncio.Event()
    checks = Checks(clock)

    async def slow() -> bool:
        nonlocal asked
        asked += 1
        await go.wait()
        return True

    checks.add("slow", slow)
    wanting = [asyncio.ensure_future(checks.outcomes()) for _ in range(50)]
    await settle()
    go.set()
    assert await asyncio.gather(*wanting) == [{"slow": "ok"}] * 50
    assert asked == 1
    await clock.advance(FRESH)
    await checks.outcomes()
    assert asked == 2


async def test_checks_have_plain_names_of_their_own_and_are_few() -> None:
    node = attach(plain, environ={})
    node.ready("a")(lambda: True)
    with pytest.raises(InvalidValue):
        node.ready("a")(lambda: True)
    for name in ("a\nb", "", "a b", "\x1b[0m", "x" * 64):
        with pytest.raises(InvalidName):
            node.ready(name)(lambda: True)
    for number in range(LIMIT - 1):
        node.ready(f"n{number}")(lambda: True)
    with pytest.raises(InvalidValue):
        node.ready("one-more")(lambda: True)


async def test_what_is_wrong_is_told_in_the_line_that_attaches() -> None:
    with pytest.raises(InvalidValue, match="PORT"):
        attach(plain, "orders", environ={})
    with pytest.raises(InvalidValue, match="ATOLL_URL"):
        attach(plain, environ={"ATOLL_URL": "nowhere"})
    with pytest.raises(InvalidName):
        attach(plain, "Orders;", environ={"PORT": "1"})


async def test_a_process_that_a_node_started_registers_nothing() -> None:
    environ = {"ATOLL_SERVICE": "orders", "ATOLL_INSTANCE": "orders-1", "ATOLL_INSTANCE_MARK": "m", "PORT": "9000"}
    node = attach(plain, environ=environ)
    async with Server(node).running():
        assert node.life is not None
        assert node.life.member is None
