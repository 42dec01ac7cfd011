"""Questions about telemetry, handed on to the telemetry process after the door let them in.

Promises: a telemetry process that is away, hangs, dies or talks nonsense costs its asker a 503 with a hint (or a broken
connection once the answer has begun), and this process nothing: what is forwarded at a time is bounded in number, an
answer in bytes, every wait in seconds. Of the request only the path, the query, the body and three headers go on; of
the answer the status, the body and a few headers come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, contextmanager
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from atoll.errors import AtollError, BadRequest, Overloaded, TelemetryUnavailable
from atoll.kit.logs import Log
from atoll.server import body
from atoll.server.control import Control
from atoll.server.endpoint import Handler
from atoll.server.unix_http import Answer, Broken, asking
from atoll.server.watch import ABORT, SEND_SECONDS, STREAM, counted, while_wanted

FORWARDED = 128
"""Questions that are forwarded at a time, followers included; more are refused with 503."""
BODY_BYTES = 256 << 10
"""Bytes of a question's body: PromQL may come as a form."""
ANSWER_BYTES = 64 << 20
"""Bytes of an answer that is not a stream of events; the connection is broken beyond it."""
SPARE = 5.0
"""Seconds that telemetry may take for the head of an answer beyond what its statement may."""
IDLE = 20.0
"""Seconds without a byte in the middle of an answer; streams of events have a heartbeat."""
TAKEN = ("accept", "content-type", "last-event-id")
GIVEN = frozenset(
    {b"content-type", b"content-length", b"cache-control", b"retry-after", b"allow", b"x-accel-buffering"}
)
HEADER_BYTES = 1024
"""Characters of one header that is passed on."""
log = Log("api")


def forwarding(name: str) -> Handler:
    """A handler that hands its request on; `name` is its own in the OpenAPI document."""

    async def handle(control: Control, request: Request) -> Response:
        return await _forward(control, request)

    handle.__name__ = handle.__qualname__ = name
    return handle


async def _forward(control: Control, request: Request) -> Response:
    knobs = control.settings.telemetry
    if not knobs.enabled:
        raise TelemetryUnavailable(
            "telemetry is switched off", hint="start the platform with ATOLL_TELEMETRY_ENABLED=true"
        )
    target = _target(request.scope)
    content = b"" if request.method in {"GET", "HEAD"} else await body.read(request, limit=BODY_BYTES)
    method = "GET" if request.method == "HEAD" else request.method
    async with AsyncExitStack() as stack:
        stack.enter_context(_places(control))
        question = asking(
            control.settings.telemetry_socket,
            method,
            target,
            _headers(request),
            content,
            seconds=knobs.query_time + SPARE,
        )
        try:
            async with while_wanted(control, request.receive, None):
                answer = await stack.enter_async_context(question)
        except TimeoutError:
            raise TelemetryUnavailable(
                f"telemetry did not answer within {knobs.query_time + SPARE:g} s",
                hint="it may be stopped or overloaded: `atoll doctor` shows",
                retry_after=5,
            ) from None
        except (Broken, OSError) as error:
            raise _away(error) from None
        return Passed(control, answer, stack.pop_all())
    raise AssertionError("an exit stack swallows nothing")


def _target(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    if not all(0x21 <= byte < 0x7F for byte in query):
        raise BadRequest("the query string has characters that must be percent-encoded")
    path = quote(scope["path"], safe="/-._~:")
    return path + (f"?{query.decode('ascii')}" if query else "")


def _headers(request: Request) -> dict[str, str]:
    return {
        name: value
        for name in TAKEN
        if (value := request.headers.get(name)) is not None
        and len(value) <= HEADER_BYTES
        and value.isascii()
        and value.isprintable()
    }


def _away(error: Exception) -> AtollError:
    """Why nobody answered, and what to do about it."""
    if isinstance(error, Broken):
        return TelemetryUnavailable(
            f"telemetry broke off: {error}", hint="it is started again by itself: try again", retry_after=1
        )
    if importlib.util.find_spec("chdb") is None and importlib.util.find_spec("clickhouse_connect") is None:
        return TelemetryUnavailable(
            "telemetry is not installed", hint='pip install "atoll[telemetry]", then `atoll up`'
        )
    return TelemetryUnavailable(
        "telemetry does not run", hint="`atoll up` starts it; `atoll doctor` shows what is wrong", retry_after=2
    )


@contextmanager
def _places(control: Control) -> Iterator[None]:
    if control.forwarding >= FORWARDED:
        raise Overloaded(f"{FORWARDED} questions are at telemetry", hint="try again shortly", retry_after=1)
    control.forwarding += 1
    try:
        yield
    finally:
        control.forwarding -= 1


class Passed(Response):
    """The answer of the telemetry process as it comes, until it is whole or somebody has had enough."""

    def __init__(self, control: Control, answer: Answer, ending: AsyncExitStack) -> None:
        super().__init__(status_code=answer.status)
        self._control = control
        self._answer = answer
        self._ending = ending
        self.raw_headers = [
            (name, value)
            for name, value in answer.headers.items()
            if name in GIVEN and len(value) <= HEADER_BYTES and value.isascii() and value.decode("ascii").isprintable()
        ]
        self._events = answer.headers.get(b"content-type", b"").startswith(STREAM.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        began = False
        async with self._ending:
            try:
                if self._events:
                    self._ending.enter_context(counted(self._control))
                async with while_wanted(self._control, receive, None):
                    await _timed(
                        send, {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                    )
                    began = True
                    async with contextlib.aclosing(self._pieces()) as pieces:
                        async for piece in pieces:
                            await _timed(send, {"type": "http.response.body", "body": piece, "more_body": True})
                    await _timed(send, {"type": "http.response.body", "body": b"", "more_body": False})
            except TimeoutError:
                _abort(scope)  # the client left, the process stops, or nobody reads
            except Broken as error:
                log.warning("an answer of telemetry was cut short", path=scope["path"], error=error)
                if not began:
                    raise _away(error) from None
                _abort(scope)

    async def _pieces(self) -> AsyncGenerator[bytes]:
        size = 0
        async for piece in self._answer.pieces(IDLE):
            size += len(piece)
            if size > ANSWER_BYTES and not self._events:
                raise Broken(f"it is over {ANSWER_BYTES} bytes")
            yield piece


async def _timed(send: Send, message: dict[str, object]) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await send(message)


def _abort(scope: Scope) -> None:
    """Break the connection, so that nobody takes a part for the whole."""
    abort = scope.get("extensions", {}).get(ABORT)
    if abort is not None:
        abort()
