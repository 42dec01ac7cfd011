"""Servers that a test is: each connection has a handler, and with the block all of them are over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from atoll.kit.accepting import stop_accepting

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(serve: Handler, path: Path | None = None, *, backlog: int = 100) -> AsyncIterator[int]:
    """`serve` has each connection to `path`, or to a free port of loopback, which is given; a peer that goes is no error."""
    running: set[asyncio.Task[None]] = set()

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(task := asyncio.create_task(handled(reader, writer)))
        task.add_done_callback(running.discard)

    if path is not None:
        server = await asyncio.start_unix_server(begin, path, backlog=backlog)
    else:
        server = await asyncio.start_server(begin, "127.0.0.1", 0, backlog=backlog)
    try:
        yield 0 if path is not None else server.sockets[0].getsockname()[1]
    finally:
        await stop_accepting(server)
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
