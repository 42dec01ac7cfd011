"""uvicorn's HTTP/1.1 connection, with the limits it lacks: headers are bounded in bytes, number and time.

Also gives the application a way to drop a connection whose peer does not read (an ASGI extension), and refuses what is
not HTTP in JSON, as everything is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from atoll.errors import AtollError, BadRequest, HeadersTooLarge
from atoll.server.watch import ABORT

HEADER_SECONDS = 10.0
"""Seconds from the connection, or from the first byte of a request, until its headers are whole."""
HEADER_BYTES = 32 << 10
"""Bytes of the request line and all headers of one request."""
HEADER_COUNT = 100


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *, refused: Callable[[AtollError], None], **given: Any) -> None:
        super().__init__(**given)
        self._refused = refused
        self._timer: asyncio.TimerHandle | None = None
        self._size = 0
        self._whole = True
        self._why: AtollError | None = None
        """What the parser was stopped for."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A peer is there; it has `HEADER_SECONDS` to say what it wants."""
        super().connection_made(transport)
        self._hurry()

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone."""
        self._relax()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request came."""
        super().on_message_begin()
        self._size = 0
        self._whole = False
        self._hurry()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["extensions"] = {ABORT: self.transport.abort}

    def on_url(self, url: bytes) -> None:
        """A piece of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._count(len(name) + len(value))
        if len(self.headers) >= HEADER_COUNT:
            self._too_large(f"there are more than {HEADER_COUNT} headers", limit=HEADER_COUNT)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be answered."""
        self._relax()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request's body is whole."""
        self._whole = True
        self._relax()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out; a body that is still coming has `HEADER_SECONDS` to end."""
        super().on_response_complete()
        if not self._whole and not self.transport.is_closing():
            self._hurry()

    def data_received(self, data: bytes) -> None:
        """Bytes came; what is buffered of an unfinished header is bounded by the parser's feed and our count."""
        if self.parser is not None:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or has too many headers; then hang up."""
        error = self._why or BadRequest(msg, hint="send HTTP/1.1")
        self._refused(error)
        content = msgspec.json.encode(error.problem())
        head = (
            f"HTTP/1.1 {error.status} {error.title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + content)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > HEADER_BYTES:
            self._too_large(f"request line and headers are over {HEADER_BYTES} bytes", limit=HEADER_BYTES)

    def _too_large(self, detail: str, *, limit: int) -> NoReturn:
        """Stop the parser; `send_400_response` is called with what it makes of that."""
        hint = f"at most {HEADER_COUNT} headers and {HEADER_BYTES} bytes of them"
        self._why = HeadersTooLarge(detail, hint=hint, limit=limit)
        raise ValueError(detail)

    def _hurry(self) -> None:
        self._relax()
        self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _relax(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
