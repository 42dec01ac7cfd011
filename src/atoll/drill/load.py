"""A bounded, recorded load: a steady number of requests a second that does not wait for answers, each written down.

An open loop, so a service that stalls is felt as callers feel it. Nothing is repeated and nothing is hidden: a connection
that breaks is a lost request. Refuses rates and durations above its limits.
"""

from __future__ import annotations

import asyncio
import re
import secrets

import httptools
import msgspec

from atoll.drill.aim import Aim
from atoll.drill.history import NO_ANSWER, Asked
from atoll.errors import InvalidValue
from atoll.kit.clock import Clock, Instant
from atoll.kit.tasks import Tasks, owned
from atoll.kit.text import scrub

RATE_LIMIT = 500.0
"""Requests a second: a drill proves a recovery, it is no benchmark."""
DURATION_LIMIT = 60.0
"""Seconds."""
DURATION_LEAST = 2.0
"""Seconds: shorter leaves no time before and after the fault."""
CONNECTION_LIMIT = 256
"""Requests under way at most; those that are due beyond it are counted as unsent."""
TIMEOUT = 10.0
"""Seconds that a request of the load waits for its answer."""
BODY_LIMIT = 64 << 10
"""Bytes of a problem document that are read."""
ANSWER_LIMIT = 16 << 20
"""Bytes of an answer; a longer one is cut off and counts as answered."""
GRPC_REFUSED = 500
"""From this status of HTTP on it is no service that says a status of gRPC: theirs come with 200."""
_IN_GRPC = re.compile(r"([a-z]{1,20}(?:-[a-z]{1,20}){0,3})(?: \([a-z0-9-]{1,63}\))?: ")


def within_limits(rate: float, duration: float) -> None:
    """Refuse a load that a drill must not make.

    Raises:
        InvalidValue: with the limit.
    """
    if not 1 <= rate <= RATE_LIMIT:
        raise InvalidValue(f"--rate {rate:g} is not 1 to {RATE_LIMIT:g} requests a second", field="rate")
    if not DURATION_LEAST <= duration <= DURATION_LIMIT:
        raise InvalidValue(f"--for {duration:g} is not {DURATION_LEAST:g} to {DURATION_LIMIT:g} seconds", field="for")


class Load:
    """Asks one thing again and again; `requests` has every one that ended, in order of their ends."""

    def __init__(self, aim: Aim, clock: Clock, *, rate: float, began: Instant, timeout: float = TIMEOUT) -> None:
        self.aim = aim
        self.rate = rate
        self.requests: list[Asked] = []
        self.unsent = 0
        self._clock = clock
        self._began = began
        self._timeout = timeout
        self._idle: list[Connection] = []
        self._busy = 0

    async def run(self, seconds: float) -> None:
        """Send for so long, then wait for the last answers."""
        clock, first = self._clock, self._clock.now()
        count = max(1, round(seconds * self.rate))
        try:
            async with owned("load") as tasks:
                sent: list[asyncio.Task[None]] = []
                for number in range(count):
                    await clock.sleep(first + number / self.rate - clock.now())
                    self._send(tasks, sent)
                await asyncio.gather(*sent)
        finally:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _send(self, tasks: Tasks, sent: list[asyncio.Task[None]]) -> None:
        if self._busy >= CONNECTION_LIMIT:
            self.unsent += 1
            return
        self._busy += 1
        sent.append(tasks.start("request", self._one()))

    async def _one(self) -> None:
        connection = self._idle.pop() if self._idle else Connection(self.aim)
        try:
            asked = await connection.ask(self._clock, self._began, self._timeout)
            self.requests.append(asked)
            if connection.open:
                self._idle.append(connection)
        finally:
            self._busy -= 1


async def ask_once(aim: Aim, clock: Clock, *, began: Instant | None = None, timeout: float = TIMEOUT) -> Asked:  # noqa: ASYNC109
    """One request on a connection of its own; times are seconds since `began` (now, when not given)."""
    connection = Connection(aim)
    try:
        return await connection.ask(clock, clock.now() if began is None else began, timeout)
    finally:
        connection.close()


class _Answer:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.size = 0
        self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.size += len(body)
        self.body += body[: max(0, BODY_LIMIT - len(self.body))]

    def on_message_complete(self) -> None:
        self.done = True


class Connection:
    """One keep-alive connection, opened when needed, never used again after a failure."""

    def __init__(self, aim: Aim) -> None:
        self.aim = aim
        self._request = b"" if aim.traced else aim.request()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def open(self) -> bool:
        """Whether it can be used again."""
        return self._streams is not None

    async def ask(self, clock: Clock, began: Instant, timeout: float) -> Asked:  # noqa: ASYNC109  the outcome of a request
        """Send the request and read its answer to the end; whatever happens is in the record."""
        start = clock.now() - began
        trace = secrets.token_hex(16) if self.aim.traced else ""
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await self._connected()
                writer.write(self.aim.request(trace) if trace else self._request)
                status, answer = await self._read(reader)
        except TimeoutError:
            self.close()
            return Asked(start, clock.now() - began, NO_ANSWER, "timeout", "", trace)
        except (OSError, EOFError, httptools.HttpParserError) as error:
            self.close()
            return Asked(start, clock.now() - began, NO_ANSWER, type(error).__name__, "", trace)
        except BaseException:
            self.close()
            raise
        given = scrub(answer.headers.get("x-fallback", ""), limit=32)
        return Asked(start, clock.now() - began, status, _grpc_error(answer), _code(status, answer), trace, given)

    def close(self) -> None:
        """Drop it."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # ended while idle: no request is lost with it
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.aim.place.host, self.aim.place.port)
        return self._streams

    async def _read(self, reader: asyncio.StreamReader) -> tuple[int, _Answer]:
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        while not answer.done:
            data = await reader.read(1 << 16)
            if not data:
                if "content-length" in answer.headers or "transfer-encoding" in answer.headers or not answer.headers:
                    raise ConnectionResetError
                self.close()
                break
            parser.feed_data(data)
            if answer.size > ANSWER_LIMIT:
                self.close()
                break
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return parser.get_status_code(), answer


def _grpc_error(answer: _Answer) -> str:
    status = answer.headers.get("grpc-status", "0")
    return "" if status == "0" else f"grpc-status {scrub(status, limit=8)}"


def _code(status: int, answer: _Answer) -> str:
    """The stable code of what gateway or mesh say, as a problem document or in words of gRPC; empty for a service's own."""
    if status >= GRPC_REFUSED and (told := _IN_GRPC.match(answer.headers.get("grpc-message", ""))):
        return told[1]
    if status < 400 or not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return ""
    try:
        said = msgspec.json.decode(bytes(answer.body), type=dict[str, object])
    except (msgspec.DecodeError, ValueError):
        return ""
    code = said.get("code")
    return scrub(code, limit=64) if isinstance(code, str) and said.get("type") == f"urn:atoll:error:{code}" else ""
