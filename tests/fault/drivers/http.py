"""A lean HTTP/1.1 client that repeats nothing and hides nothing: one connection, one request at a time, exact endings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httptools
import msgspec

BODY_LIMIT = 64 << 20
"""Bytes of an answer that are kept."""
TIMEOUT = 30.0
"""Seconds a request may take; a bound against hanging."""


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Its body, decoded."""
        return msgspec.json.decode(self.body)


class Broken(Exception):
    """No whole answer. `sent` tells whether the request may have been acted on."""

    def __init__(self, how: str, *, sent: bool) -> None:
        super().__init__(how)
        self.how = how
        self.sent = sent


class _Reading:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        if len(self.body) + len(body) > BODY_LIMIT:
            raise Broken(f"an answer over {BODY_LIMIT} bytes", sent=True)
        self.body += body

    def on_message_complete(self) -> None:
        self.done = True


class Client:
    """One keep-alive connection to a host and port or a unix socket, opened when needed; reopened after a failure."""

    def __init__(self, place: tuple[str, int] | Path, *, headers: Mapping[str, str] | None = None) -> None:
        self.place = place
        self.headers = dict(headers or {})
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109  a deadline of the request, answered with Broken
    ) -> Answer:
        """One request; `body` is sent as JSON, bytes as they are.

        Raises:
            Broken: no connection, or it ended before the whole answer came, or `timeout` seconds passed.
        """
        sent = False
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await self._connected()
                sent = True
                writer.write(self._request(method, path, body, {**self.headers, **(headers or {})}))
                await writer.drain()
                return await self._answer(reader)
        except TimeoutError:
            self.close()
            raise Broken("timeout", sent=sent) from None
        except (OSError, httptools.HttpParserError) as error:
            self.close()
            raise Broken(type(error).__name__, sent=sent) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # the server ended an idle connection: no request is lost with it
        if self._streams is None:
            if isinstance(self.place, Path):
                self._streams = await asyncio.open_unix_connection(str(self.place))
            else:
                self._streams = await asyncio.open_connection(*self.place)
        return self._streams

    def _request(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> bytes:
        host = "localhost" if isinstance(self.place, Path) else f"{self.place[0]}:{self.place[1]}"
        content = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {"Host": host, **({} if body is None else {"Content-Type": "application/json"}), **headers}
        if content or method not in {"GET", "HEAD", "DELETE"}:
            named["Content-Length"] = str(len(content))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + content

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        reading = _Reading()
        parser = httptools.HttpResponseParser(reading)
        data = b""
        while not reading.done:
            data = await reader.read(1 << 16)
            if not data:
                if "content-length" in reading.headers or "transfer-encoding" in reading.headers or not reading.headers:
                    raise ConnectionResetError
                reading.done = True  # an answer that ends with the connection
            else:
                parser.feed_data(data)
        answer = Answer(parser.get_status_code(), reading.headers, bytes(reading.body))
        if reading.headers.get("connection", "").lower() == "close" or not data:
            self.close()
        return answer
