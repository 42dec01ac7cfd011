"""Changes as they happen: a server-sent event stream, or a long poll that answers at the first change.

A watcher misses nothing or is told `resync` (then it lists and watches anew). At most `settings.api.watchers` are open;
one that does not read is cut after `SEND_SECONDS`; progress marks are the heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from atoll.errors import BadRequest, Compacted, InvalidName, InvalidValue, Overloaded, Resync
from atoll.model.answers import FactChange, FactEvent, FactEventKind
from atoll.server.control import Control, finish
from atoll.server.endpoint import Endpoint, Query
from atoll.server.exchange import REVISION_HEADER, reply, seconds, whole
from atoll.server.facts import NULL, prefixes_of, raw_value
from atoll.store.base import Change, EventKind, Revision

STREAM = "text/event-stream"
PROGRESS = 5.0
"""Seconds of quiet after which a progress mark is sent."""
SEND_SECONDS = 10.0
"""Seconds that a watcher may take to read what was sent, beyond what the buffers between us hold."""
WAIT = 30.0
"""Seconds of a long poll that does not say."""
BATCH = 1000
"""Events that a long poll gathers before it answers."""
RETRY_MS = 500
"""What a browser's EventSource waits before it connects again."""
ABORT = "atoll.abort"
"""Extension of the ASGI scope that drops the connection, buffers and all; see `protocol`."""


async def watch(control: Control, request: Request) -> Response:
    """A stream or a long poll, by what the client accepts."""
    prefixes = prefixes_of(request)
    start = whole(request, "start", None, least=0, most=2**53)
    if STREAM not in request.headers.get("accept", ""):
        return await _poll(control, request, prefixes, start)
    resumed = request.headers.get("last-event-id")
    if resumed is not None:
        if not (resumed.isascii() and resumed.isdigit() and len(resumed) <= 16):
            raise BadRequest("Last-Event-ID is not a revision", hint="send back the id of the last event")
        start = int(resumed) + 1
    stream = EventStream(control, prefixes, start)
    await stream.open()
    return stream


async def _poll(control: Control, request: Request, prefixes: tuple[str, ...], start: int | None) -> Response:
    wait = seconds(request, "wait", WAIT, most=control.settings.api.long_poll)
    reached = control.store.revision if start is None else max(0, start - 1)
    events: list[FactEvent] = []
    replaying = True
    with counted(control):
        async with _changes(control, prefixes, start) as changes:
            with contextlib.suppress(TimeoutError):
                async with while_wanted(control, request.receive, wait or None):
                    async for change in changes:
                        reached = change.revision
                        events.extend(_events(change, prefixes))
                        replaying = replaying and bool(change.events)  # a progress mark ends the replay of history
                        if len(events) >= BATCH or (not replaying and (events or not wait)):
                            break
    return reply(FactChange(reached, tuple(events)))


class EventStream(Response):
    """A watch as server-sent events, until the client leaves, falls behind, or the process ends."""

    def __init__(self, control: Control, prefixes: tuple[str, ...], start: int | None) -> None:
        super().__init__(media_type=STREAM, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._control = control
        self._prefixes = prefixes
        self._start = start
        self._open = AsyncExitStack()

    async def open(self) -> None:
        """Begin to watch, so that a refusal can still be an answer.

        Raises:
            Compacted: the history at `start` is gone.
            Overloaded: too many watch already.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(counted(self._control))
            self._changes = await stack.enter_async_context(_changes(self._control, self._prefixes, self._start))
            self._open = stack.pop_all()
        self.headers[REVISION_HEADER] = str(self._control.store.revision)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until somebody has had enough."""
        async with self._open:
            try:
                async with while_wanted(self._control, receive, None):
                    await self._stream(send)
            except TimeoutError:
                with contextlib.suppress(_NotReading):
                    await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})
            except _NotReading:
                self._control.counts.watchers_cut += 1
                abort = scope.get("extensions", {}).get(ABORT)
                if abort is not None:
                    abort()

    async def _stream(self, send: Send) -> None:
        await self._send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._say(send, f"retry: {RETRY_MS}\n\n".encode())
        now = self._control.clock.now
        told = now()
        try:
            async for change in self._changes:
                found = _events(change, self._prefixes)
                if not found and change.events and now() - told < PROGRESS:
                    continue  # not what this watcher asked for
                told = now()
                event = "change" if found else "progress"
                await self._say(send, _frame(event, change.revision, FactChange(change.revision, found)))
        except Resync as error:
            self._control.counts.resyncs += 1
            await self._say(send, b"event: resync\ndata: " + msgspec.json.encode(error.problem()) + b"\n\n")
        await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _say(self, send: Send, frame: bytes) -> None:
        await self._send(send, {"type": "http.response.body", "body": frame, "more_body": True})

    async def _send(self, send: Send, message: dict[str, object]) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS) as limit:
                await send(message)
        except TimeoutError:
            if limit.expired():
                raise _NotReading from None
            raise


class _NotReading(Exception):
    """The client took nothing for `SEND_SECONDS`."""


@asynccontextmanager
async def while_wanted(control: Control, receive: Receive, limit: float | None) -> AsyncIterator[None]:
    """A block that ends when the client leaves, the process stops, or after `limit` seconds.

    Raises:
        TimeoutError: it ended so.
    """
    async with asyncio.timeout(limit) as scope:
        gone = control.tasks.start("client", _gone(receive, scope))
        control.waiting.add(scope)
        if control.stopping:
            finish(scope)
        try:
            yield
        finally:
            control.waiting.discard(scope)
            gone.cancel()


async def _gone(receive: Receive, scope: asyncio.Timeout) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    finish(scope)


@contextmanager
def counted(control: Control) -> Iterator[None]:
    """A block that is one of the open watches.

    Raises:
        Overloaded: there are too many already.
    """
    limit = control.settings.api.watchers
    if control.counts.watchers >= limit:
        raise Overloaded(
            f"{limit} watches are open already", hint="close some, or raise ATOLL_API_WATCHERS", retry_after=5
        )
    control.counts.watchers += 1
    try:
        yield
    finally:
        control.counts.watchers -= 1


@asynccontextmanager
async def _changes(
    control: Control, prefixes: tuple[str, ...], start: int | None
) -> AsyncIterator[AsyncIterator[Change]]:
    """One watch over all prefixes: several are watched as everything and sifted, so that commits stay whole."""
    prefix = prefixes[0] if len(prefixes) == 1 else ""
    first = None if start is None else Revision(start)
    async with control.store.watch(prefix, start=first, progress=PROGRESS) as changes:
        yield changes


def _events(change: Change, prefixes: tuple[str, ...]) -> tuple[FactEvent, ...]:
    return tuple(
        FactEvent(FactEventKind.DELETE, event.entry.key, NULL)
        if event.kind is EventKind.DELETE
        else FactEvent(FactEventKind.PUT, event.entry.key, raw_value(event.entry.value))
        for event in change.events
        if event.entry.key.startswith(prefixes)
    )


def _frame(event: str, revision: int, data: FactChange) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (revision, event.encode(), msgspec.json.encode(data))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/watch",
        summary="Changes from a revision on: server-sent events (Accept: text/event-stream), or a long poll.",
        handler=watch,
        answer=FactChange,
        errors=(InvalidName, InvalidValue, BadRequest, Compacted, Resync, Overloaded),
        query=(
            Query("prefix", "Which: `services/`, `instances/orders/`, …; repeatable. None: all.", repeated=True),
            Query("start", "The first revision that is wanted: the listed one plus 1. None: from now on.", "integer"),
            Query("wait", "Long poll: seconds to wait for a change, at most.", "number"),
        ),
    ),
)
