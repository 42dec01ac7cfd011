"""Instances inside the test: they answer, fail, hang up or keep silent when told to, and count what reaches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum

from atoll.kit.accepting import stop_accepting

REQUEST_LIMIT = 1 << 16
"""Bytes of a request head."""


class Mood(StrEnum):
    """What an upstream does with the next requests."""

    ANSWER = "answer"
    FAIL = "fail"
    """500."""
    HANG_UP = "hang-up"
    """Reads the request and closes without a byte."""
    SILENT = "silent"
    """Reads, keeps the connection, never answers."""


class Upstream:
    """One instance; made by `upstreams`. `requests` counts those that were read, whatever became of them."""

    def __init__(self, name: str, mood: Mood = Mood.ANSWER) -> None:
        self.name = name
        self.mood = mood
        self.requests = 0
        self.open = 0
        self.most = 0
        """The most connections that were open at a time."""
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def end(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.transport.abort()
        while self._writers:  # noqa: ASYNC110  streams have no "all closed"
            await asyncio.sleep(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the gateway, or of its checks."""
        self.open += 1
        self._writers.add(writer)
        self.most = max(self.most, self.open)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                if self.mood is Mood.SILENT:
                    await reader.read()
                    return
                if self.mood is Mood.HANG_UP:
                    return
                status = "200 OK" if self.mood is Mood.ANSWER else "500 Broken"
                head = f"HTTP/1.1 {status}\r\nx-instance: {self.name}\r\ncontent-length: 2\r\n\r\nok"
                writer.write(head.encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.transport.abort()


@asynccontextmanager
async def upstreams(*names: str, mood: Mood = Mood.ANSWER) -> AsyncIterator[list[Upstream]]:
    """An upstream of each name, listening on a free port of loopback for the length of the block."""
    made = [Upstream(name, mood) for name in names]
    async with AsyncExitStack() as stack:
        for one in made:
            server = await asyncio.start_server(one.serve, "127.0.0.1", 0, limit=REQUEST_LIMIT, backlog=512)
            stack.push_async_callback(one.end)
            stack.push_async_callback(stop_accepting, server)
            one.port = server.sockets[0].getsockname()[1]
        yield made
