"""Watchers of the control plane's event stream, resuming by revision; and the log of service facts read through one.

A service fact's value is its check path, the word that `driver_api_writes` uses once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httptools
import msgspec

from atoll.kit.clock import SystemClock
from atoll.testing.history import Call, History
from atoll.testing.promises import Happened, Log
from atoll.testing.watched import Heard, sessions_of

QUIET = 20.0
"""Seconds without a byte after which a stream counts as dead: four progress marks."""


class StreamEnded(Exception):
    """The stream ended; `code` is why, or "" when nothing was said."""

    def __init__(self, code: str) -> None:
        super().__init__(code or "the stream ended")
        self.code = code


async def stream(
    place: tuple[str, int] | Path, token: str, prefix: str, start: int | None
) -> AsyncGenerator[Heard, None]:
    """Changes and progress marks as they come.

    Raises:
        StreamEnded: refused, told to resync, cut, or silent for QUIET seconds.
    """
    path = f"/api/v1/watch?prefix={prefix}" + (f"&start={start}" if start is not None else "")
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:7070\r\nAccept: text/event-stream\r\nAuthorization: Bearer {token}\r\n\r\n"
    try:
        async with asyncio.timeout(QUIET):
            reader, writer = await (
                asyncio.open_unix_connection(str(place)) if isinstance(place, Path) else asyncio.open_connection(*place)
            )
    except (OSError, TimeoutError) as error:
        raise StreamEnded(type(error).__name__) from error
    body, clock = _Body(), SystemClock()
    parser = httptools.HttpResponseParser(body)
    try:
        writer.write(request.encode("ascii"))
        while not body.done:
            async with asyncio.timeout(QUIET):
                data = await reader.read(1 << 16)
            if not data:
                raise StreamEnded("")
            parser.feed_data(data)
            if parser.get_status_code() != 200:
                raise StreamEnded(f"status {parser.get_status_code()}")
            for event, words in body.take():
                if event == "resync":
                    raise StreamEnded("resync")
                if event in {"change", "progress"}:
                    yield Heard(words["revision"], tuple(map(happened, words["events"])), clock.now())
        raise StreamEnded("")
    except (OSError, TimeoutError, httptools.HttpParserError) as error:
        raise StreamEnded(type(error).__name__) from error
    finally:
        writer.transport.abort()


def happened(event: dict[str, Any]) -> Happened:
    """An event of the API in the words of the checks."""
    if event["kind"] == "delete":
        return Happened("delete", event["key"])
    value = event["value"]
    known = value.get("check", {}).get("path") if event["key"].startswith("services/") else None
    return Happened("put", event["key"], known if known is not None else msgspec.json.encode(value).decode())


async def driver_api_watch(
    history: History,
    place: tuple[str, int] | Path,
    token: str,
    client: str,
    *,
    prefix: str,
    start: int,
    stop: asyncio.Event,
    tell: Callable[[Heard], None] | None = None,
) -> int:
    """Watch until `stop`, resuming after every cut; each stream is one recorded session. Returns where to resume.

    `tell` hears every message at once.
    """
    resume = start
    while not stop.is_set():
        heard: list[Heard] = []
        with history.call(client, "watch", prefix=prefix, start=resume) as call:
            ended = await _session(place, token, prefix, resume, stop, heard, tell)
            call.answered(msgspec.to_builtins(heard))
            call.error = ended
        if heard:
            resume = heard[-1].revision + 1
        elif ended:
            await asyncio.sleep(0.05)  # nobody is there yet
    return resume


async def _session(
    place: tuple[str, int] | Path,
    token: str,
    prefix: str,
    start: int,
    stop: asyncio.Event,
    heard: list[Heard],
    tell: Callable[[Heard], None] | None,
) -> str | None:
    async def listen() -> None:
        async with aclosing(stream(place, token, prefix, start)) as messages:
            async for message in messages:
                heard.append(message)
                if tell is not None:
                    tell(message)

    listening = asyncio.ensure_future(listen())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([listening, stopping], return_when=asyncio.FIRST_COMPLETED)
    for task in (listening, stopping):
        task.cancel()
    (ended, _) = await asyncio.gather(listening, stopping, return_exceptions=True)
    if isinstance(ended, asyncio.CancelledError):
        return None
    if isinstance(ended, StreamEnded):
        return ended.code or "cut"
    assert ended is None, ended
    return None


async def service_log(place: tuple[str, int] | Path, token: str, *, start: int = 1) -> Log:
    """The kept history of service facts from revision `start` on."""
    log: dict[int, tuple[Happened, ...]] = {}
    async with aclosing(stream(place, token, "services/", start)) as messages:
        async for message in messages:
            if not message.events:
                break
            log[message.revision] = message.events
    return log


def deletions(calls: Iterable[Call], prefix: str = "instances/") -> list[tuple[str, float]]:
    """What was heard to be deleted under `prefix`, and when."""
    return [
        (event.key, heard.at)
        for session in sessions_of(calls)
        for heard in session.heard
        for event in heard.events
        if event.kind == "delete" and event.key.startswith(prefix)
    ]


class _Body:
    """The event stream, frame by frame."""

    def __init__(self) -> None:
        self.done = False
        self._bytes = bytearray()

    def on_body(self, body: bytes) -> None:
        self._bytes += body

    def on_message_complete(self) -> None:
        self.done = True

    def take(self) -> list[tuple[str, Any]]:
        *frames, rest = bytes(self._bytes).split(b"\n\n")
        self._bytes[:] = rest
        found = []
        for frame in frames:
            fields = dict(line.split(b": ", 1) for line in frame.split(b"\n") if b": " in line)
            if b"data" in fields:
                found.append((fields.get(b"event", b"message").decode(), msgspec.json.decode(fields[b"data"])))
        return found
