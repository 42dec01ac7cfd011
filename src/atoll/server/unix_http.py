"""One HTTP/1.1 exchange with another process of ours, over its unix socket: asked once, read in pieces, bounded.

Promises: whatever the other side does (hangs, drips, dies, talks nonsense, sends headers without end), the caller gets
an answer's head in time or `Broken`, and pieces of its body as fast as they are read and no faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httptools

PIECE = 64 << 10
"""Bytes read at a time."""
HEAD_BYTES = 32 << 10
"""Bytes of an answer's status line and headers."""
CONNECT_SECONDS = 2.0


class Broken(Exception):
    """The other side did not give a whole answer; the text says how."""


class Answer:
    """The head of an answer, and what follows. Made by `asking`."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._reader = reader
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._head = False
        self._whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser found a header."""
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The parser found the end of the head."""
        self._head = True
        self.status = self._parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        """The parser found a part of the body."""
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The parser found the end."""
        self._whole = True

    async def head(self) -> None:
        """Read until status and headers are known.

        Raises:
            Broken: they do not come.
        """
        size = 0
        while not self._head:
            size += await self._read()
            if size > HEAD_BYTES + PIECE or (not self._head and size > HEAD_BYTES):
                raise Broken(f"its headers are over {HEAD_BYTES} bytes")

    async def pieces(self, idle: float) -> AsyncIterator[bytes]:
        """The body, until it is whole.

        Raises:
            Broken: it ended too early, or nothing came for `idle` seconds.
        """
        while True:
            while self._pieces:
                yield self._pieces.pop(0)
            if self._whole:
                return
            try:
                async with asyncio.timeout(idle):
                    await self._read()
            except TimeoutError:
                raise Broken(f"it fell silent for {idle:g} s in the middle of its answer") from None

    async def _read(self) -> int:
        try:
            data = await self._reader.read(PIECE)
        except OSError as error:
            raise Broken(f"the connection failed: {error.strerror or type(error).__name__}") from None
        if not data:
            if self._head and b"content-length" not in self.headers and not self._chunked:
                self._whole = True  # an answer of no stated length ends with its connection
                return 0
            raise Broken("it ended in the middle of its answer" if self._head else "it hung up without an answer")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self._whole:
                raise Broken(f"it does not speak HTTP ({type(error).__name__})") from None
        return len(data)

    @property
    def _chunked(self) -> bool:
        return b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()


@asynccontextmanager
async def asking(
    place: Path, method: str, target: str, headers: Mapping[str, str], body: bytes, *, seconds: float
) -> AsyncIterator[Answer]:
    """Ask; the block reads the answer, whose head came within `seconds`. The connection ends with the block.

    `method`, `target` and `headers` are the caller's to check: they are sent as they are.

    Raises:
        OSError: nobody listens there.
        TimeoutError: no head came in time.
        Broken: what came is no answer.
    """
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_unix_connection(str(place), limit=PIECE)
    try:
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        answer = Answer(reader)
        async with asyncio.timeout(seconds):
            with suppress(ConnectionError):  # it may have answered before it read everything
                await writer.drain()
            await answer.head()
        yield answer
    finally:
        writer.transport.abort()
