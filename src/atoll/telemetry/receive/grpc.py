"""OTLP over gRPC: the three Export methods, as bytes in and bytes out, with the same meaning as over HTTP.

gRPC itself would inflate a message without asking how large it becomes; it is told not to, so a compressed message
comes as it was sent and is known by its first bytes, which cannot begin an export request. Token and room are asked
before the message is read.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc import aio

from atoll.errors import AtollError, BadRequest, PortTaken, RequestTimeout
from atoll.kit.logs import Log
from atoll.telemetry.limits import BODY_SECONDS
from atoll.telemetry.receive.answer import Refusal, refusal
from atoll.telemetry.receive.door import Door
from atoll.telemetry.receive.intake import Form, Intake
from atoll.telemetry.receive.messages import WORDS, response
from atoll.telemetry.signal import Signal

READS = 32
"""Messages that are being read at the same time; each may be as large as one may be."""
GRACE = 3.0
"""Seconds that calls in progress have at the end."""
STATUS = "grpc-status-details-bin"
log = Log("telemetry")


class GrpcReceiver:
    """The methods; see the module."""

    def __init__(self, intake: Intake, door: Door, *, body_seconds: float = BODY_SECONDS) -> None:
        self._intake = intake
        self._door = door
        self._seconds = body_seconds
        self._reads = asyncio.Semaphore(READS)

    def handlers(self) -> tuple[Any, ...]:
        """For `grpc.aio.Server.add_generic_rpc_handlers`. A stream of one message is what one message is on the wire."""
        return tuple(
            grpc.method_handlers_generic_handler(
                words.service,
                {"Export": grpc.stream_unary_rpc_method_handler(functools.partial(self.export, signal))},
            )
            for signal, words in WORDS.items()
        )

    async def export(self, signal: Signal, messages: AsyncIterator[bytes], context: Any) -> bytes:
        """One call."""
        try:
            self._intake.enter()
            return await self._export(signal, messages, context)
        except AtollError as error:
            self._intake.refused(error)
            told = refusal(error)
        except (asyncio.CancelledError, aio.AbortError):
            raise
        except Exception as cause:  # noqa: BLE001 - one call that fails in a new way is answered as well
            log.error("an export failed", signal=signal, error=repr(cause))
            told = refusal(AtollError("telemetry failed at this call", hint="its log says why; please report it"))
        finally:
            self._intake.leave()
        await _abort(context, told)
        raise AssertionError("abort always raises")

    async def _export(self, signal: Signal, messages: AsyncIterator[bytes], context: Any) -> bytes:
        metadata = dict(context.invocation_metadata() or ())
        self._door.check(str(metadata.get("authorization", "")))
        self._intake.room.require(1)
        with self._intake.room.claim() as claim:
            async with self._reads:
                raw = await self._message(messages)
                claim.take(len(raw))
            encoding = encoding_of(raw)
            taken = await self._intake.take(signal, raw, claim, encoding=encoding, form=Form.PROTOBUF, way="grpc")
        made: bytes = response(signal, taken.rejected.total(), taken.reason).SerializeToString()
        return made

    async def _message(self, messages: AsyncIterator[bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                async for message in messages:
                    return message
        except TimeoutError:
            raise RequestTimeout(f"the message did not come within {self._seconds:g} s") from None
        raise BadRequest("there is no message in the call", hint="send one export request")


def encoding_of(raw: bytes) -> str:
    """How a message is compressed: an export request's first byte is 0x0a, or it is empty."""
    if raw[:2] == b"\x1f\x8b":
        return "gzip"
    return "deflate" if raw[:1] == b"\x78" else "identity"


async def _abort(context: Any, told: Refusal) -> None:
    status: status_pb2.Status = told.status
    await context.abort(
        next(code for code in grpc.StatusCode if code.value[0] == told.grpc),
        told.message,
        trailing_metadata=((STATUS, status.SerializeToString()),),
    )


@asynccontextmanager
async def listening(
    receiver: GrpcReceiver, host: str, port: int, *, body_limit: int, taken: Callable[[str, int], PortTaken]
) -> AsyncIterator[int]:
    """Answer on `host`:`port` for the length of the block; the port, for when it was 0.

    Raises:
        PortTaken: made by `taken`, when somebody else listens there.
    """
    server = aio.server(
        handlers=receiver.handlers(),
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", body_limit),
            ("grpc.max_metadata_size", 32 << 10),
            ("grpc.per_message_decompression", 0),
            ("grpc.max_concurrent_streams", 1024),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ),
    )
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(where)
    except RuntimeError:
        raise taken(host, port) from None
    if not bound:
        raise taken(host, port)
    await server.start()
    try:
        yield int(bound)
    finally:
        await server.stop(GRACE)
