"""Whether an instance that is starting answers yet. Afterwards HAProxy's own checks decide; this only opens the door.

Every question has a deadline and reads a bounded answer. Nothing an instance answers can raise: the outcome is a value,
with the reason in words.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from atoll.kit.text import scrub
from atoll.model.cadence import cadence
from atoll.model.service import Check, CheckKind, Protocol

FIRST_PAUSE = 0.05
"""Seconds between two questions at first; grows by half each time up to the check's interval."""
ANSWER_LIMIT = 16 << 10
"""Bytes read of an answer."""
SERVING = 1
"""grpc.health.v1.HealthCheckResponse.ServingStatus."""
_STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


@dataclass(frozen=True)
class Outcome:
    """What a probe found; `cause` says why not."""

    passed: bool
    cause: str = ""


PASSED = Outcome(True)


def pause(tries: int, check: Check) -> float:
    """Seconds to wait after the `tries`-th question (from 1) of a starting instance."""
    return float(min(check.interval, FIRST_PAUSE * 1.5 ** min(tries - 1, 20)))


async def ask(check: Check, protocol: Protocol, port: int, *, host: str = "127.0.0.1") -> Outcome:
    """Ask once, as patiently as HAProxy will (`model.cadence`). `process` and `none` ask nothing and pass."""
    patience = cadence(check).patience
    try:
        async with asyncio.timeout(patience):
            if check.kind is CheckKind.TCP:
                async with _connection(host, port):
                    return PASSED
            if check.kind is CheckKind.HTTP and protocol in {Protocol.H2C, Protocol.GRPC}:
                return _http_outcome((await _over_h2(host, port, "GET", check.path, b"")).status)
            if check.kind is CheckKind.HTTP:
                return await _http(host, port, check.path)
            if check.kind is CheckKind.GRPC:
                return await _grpc(host, port, check.grpc_service)
            return PASSED
    except TimeoutError:
        return Outcome(False, f"no answer within {patience:g} s")
    except ConnectionRefusedError:
        return Outcome(False, f"nothing listens on port {port} yet")
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        return Outcome(False, scrub(str(error) or type(error).__name__, limit=120))


@asynccontextmanager
async def _connection(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port, limit=ANSWER_LIMIT)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _http(host: str, port: int, path: str) -> Outcome:
    async with _connection(host, port) as (reader, writer):
        head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: atoll-probe\r\nConnection: close\r\n\r\n"
        writer.write(head.encode("ascii", "replace"))
        await writer.drain()
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            return Outcome(False, "the answer is not HTTP")
        words = line.split(maxsplit=2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            return Outcome(False, "the answer is not HTTP")
        return _http_outcome(int(words[1]))


def _http_outcome(status: int) -> Outcome:
    return PASSED if 200 <= status < 400 else Outcome(False, f"HTTP {status}")


async def _grpc(host: str, port: int, service: str) -> Outcome:
    name = service.encode()
    if len(name) > 127:
        return Outcome(False, "the gRPC service's name is over 127 bytes")
    message = (b"\x0a" + bytes([len(name)]) + name) if name else b""
    body = b"\0" + len(message).to_bytes(4, "big") + message
    answer = await _over_h2(host, port, "POST", "/grpc.health.v1.Health/Check", body)
    if answer.status != 200:
        return Outcome(False, f"HTTP {answer.status}")
    if answer.grpc_status != "0":
        words = {"5": "the health service does not know it", "12": "it has no grpc.health.v1 service"}
        return Outcome(False, words.get(answer.grpc_status, f"gRPC status {scrub(answer.grpc_status, limit=8) or '?'}"))
    status = _serving_status(answer.body)
    return PASSED if status == SERVING else Outcome(False, _STATUS.get(status, f"serving status {status}"))


def _serving_status(body: bytes) -> int:
    """The enum of field 1 in the first message; 0 when it is absent."""
    message = body[5 : 5 + int.from_bytes(body[1:5], "big")] if len(body) >= 5 else b""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


@dataclass
class _Answer:
    status: int = 0
    grpc_status: str = ""
    body: bytes = b""

    def take(self, headers: list[tuple[bytes, bytes]]) -> None:
        for name, value in headers:
            if name == b":status" and value.isdigit():
                self.status = int(value)
            elif name == b"grpc-status":
                self.grpc_status = value.decode("ascii", "replace")


async def _over_h2(host: str, port: int, method: str, path: str, body: bytes) -> _Answer:
    """One request over HTTP/2 with prior knowledge, bounded; a connection that ends early is an OSError."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import (
        ConnectionTerminated,
        DataReceived,
        ResponseReceived,
        StreamEnded,
        StreamReset,
        TrailersReceived,
    )
    from h2.exceptions import H2Error

    talk = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    headers = [(":method", method), (":scheme", "http"), (":authority", f"{host}:{port}"), (":path", path)]
    if body:
        headers += [("content-type", "application/grpc"), ("te", "trailers")]
    answer = _Answer()
    read = 0
    async with _connection(host, port) as (reader, writer):
        talk.initiate_connection()
        stream = talk.get_next_available_stream_id()
        talk.send_headers(stream, headers, end_stream=not body)
        if body:
            talk.send_data(stream, body, end_stream=True)
        while True:
            writer.write(talk.data_to_send())
            await writer.drain()
            data = await reader.read(ANSWER_LIMIT)
            read += len(data)
            if not data or read > 4 * ANSWER_LIMIT:
                raise ConnectionResetError("the connection ended before the answer did")
            try:
                events = talk.receive_data(data)
            except H2Error:
                raise ConnectionResetError("the answer is not HTTP/2") from None
            for event in events:
                if isinstance(event, (ResponseReceived, TrailersReceived)):
                    answer.take(event.headers)
                elif isinstance(event, DataReceived):
                    answer.body = (answer.body + event.data)[:ANSWER_LIMIT]
                    talk.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, StreamEnded):
                    return answer
                elif isinstance(event, (StreamReset, ConnectionTerminated)):
                    raise ConnectionResetError("the connection was reset")
