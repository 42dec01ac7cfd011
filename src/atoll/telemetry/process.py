"""What runs in the telemetry process, and in which order: engine, buffer, receivers, and the parts beside them.

The stop is the reverse: first nothing new is taken, then what waits is committed, then the engine is closed. Where it
listens is handed in, bound, by who builds the process; a part is an async context manager.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import Receive, Scope, Send

from atoll.errors import AtollError, PortTaken
from atoll.kit.clock import Clock
from atoll.kit.watchdog import Watchdog
from atoll.settings import Settings
from atoll.telemetry import otlp, status
from atoll.telemetry.buffer import Buffer
from atoll.telemetry.engine import Engine
from atoll.telemetry.limits import Room
from atoll.telemetry.logs import api as logs_api
from atoll.telemetry.logs.collect import collecting
from atoll.telemetry.logs.source import Open
from atoll.telemetry.metrics.intake import taking
from atoll.telemetry.metrics.otlp import Sink
from atoll.telemetry.metrics.pull import Platform, pulling
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.promql import api as promql_api
from atoll.telemetry.query.app import make_app
from atoll.telemetry.receive import grpc
from atoll.telemetry.receive.door import Door, origins
from atoll.telemetry.receive.http import HttpReceiver
from atoll.telemetry.receive.intake import Intake, Taken
from atoll.telemetry.requests.receiver import receiving
from atoll.telemetry.resting import resting
from atoll.telemetry.retention import retaining
from atoll.telemetry.signal import Signal


class App(Protocol):
    """What is listened with."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

    def refused(self, error: AtollError) -> None:
        """Something on a connection was no request."""


class Listen(Protocol):
    """Answers on sockets for the length of a block."""

    def __call__(
        self, app: App, sockets: list[socket.socket], stop: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """See `server.listening`."""


@dataclass(frozen=True)
class Outside:
    """What the process is built of that is not telemetry's own."""

    engine: Callable[[], Engine]
    """Opens it; blocking."""
    listen: Listen
    http: socket.socket
    queries: Callable[[], socket.socket]
    """Binds the private unix socket; asked once the engine is open, so that it is there when questions are answered."""
    taken: Callable[[str, int], PortTaken]
    """The error for a port that somebody else has."""
    tokens: Sequence[str]
    lines: Mapping[str, Open] = field(default_factory=dict)
    """Captured output by its source (`stdout`, `platform`)."""
    platform: Platform | None = None
    """Whom to ask for metrics; None: nobody is."""


@dataclass(frozen=True)
class Process:
    """A telemetry process that answers."""

    http_port: int
    grpc_port: int
    parts: status.Parts


@asynccontextmanager
async def running(settings: Settings, clock: Clock, outside: Outside) -> AsyncIterator[Process]:
    """Telemetry for the length of the block.

    Raises:
        ProgramMissing, AlreadyRunning, StorageIncompatible, StorageFailed: the engine cannot be opened.
        PortTaken: somebody else listens where OTLP over gRPC is to be taken.
    """
    knobs = settings.telemetry
    watchdog = Watchdog(clock, limit=settings.watchdog.limit, quiet=settings.watchdog.quiet)
    async with contextlib.AsyncExitStack() as stack:
        engine = await asyncio.to_thread(outside.engine)
        stack.push_async_callback(asyncio.to_thread, engine.close)
        pool = EnginePool(engine, clock)
        stack.push_async_callback(pool.close)
        await stack.enter_async_context(watchdog.watching())
        room = Room(knobs.buffer_bytes, retry_after=max(1.0, knobs.flush))
        buffer = Buffer(functools.partial(write, pool), clock, longest=knobs.flush)
        await stack.enter_async_context(buffer.flushing())
        metrics = await stack.enter_async_context(taking(pool, clock, knobs))
        sink = MetricsDoor(Sink(metrics, days=knobs.metrics_days))
        intake = Intake(buffer, sink.take, room, body_limit=knobs.body_limit)
        parts = status.Parts(
            settings=settings,
            clock=clock,
            pool=pool,
            buffer=buffer,
            intake=intake,
            room=room,
            watchdog=watchdog,
            started=clock.wall(),
        )
        parts.counted["metrics"] = metrics.figures
        parts.warned.append(lambda: metrics.warning)
        if outside.platform is not None:
            scraper = await stack.enter_async_context(pulling(metrics, clock, outside.platform))
            parts.counted["scrape"] = lambda: status.numbers(scraper.counts)
        await _beside(stack, settings, clock, outside, parts)
        await _listening(stack, settings, clock, outside, parts)
        yield Process(parts.http_port, parts.grpc_port, parts)


async def write(pool: EnginePool, signal: Signal, bodies: Sequence[bytes]) -> None:
    """Commit bodies of traces or logs."""
    await pool.insert(otlp.traces(bodies) if signal is Signal.TRACES else otlp.logs(bodies))


class MetricsDoor:
    """What OTLP's receivers call for metrics."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def take(self, body: bytes) -> Taken:
        """Commit a metrics request."""
        told = await self._sink.write(body)
        return Taken(told.accepted, Counter(dict(told.reasons)))


async def _beside(
    stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock, outside: Outside, parts: status.Parts
) -> None:
    """Start the parts beside OTLP's receivers."""
    requests = await stack.enter_async_context(receiving(settings.requests_socket, parts.pool, clock))
    parts.counted["requests"] = lambda: status.numbers(requests.counts)
    collector = await stack.enter_async_context(
        collecting(outside.lines, parts.pool, clock, settings.telemetry_folder / "collected.json")
    )
    parts.counted["logs"] = lambda: status.numbers(collector.counts)
    parts.warned.append(lambda: collector.counts.warning)
    retention = await stack.enter_async_context(retaining(parts.pool, clock, settings.telemetry, settings.tail))
    parts.counted["retention"] = lambda: status.numbers(retention)
    rests = await stack.enter_async_context(resting(parts.pool, clock))
    parts.counted["memory"] = lambda: status.numbers(rests)


async def _listening(
    stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock, outside: Outside, parts: status.Parts
) -> None:
    """Answer questions, then take what is sent."""
    knobs = settings.telemetry
    queries = make_app(parts.pool, clock, knobs, routes=[*status.routes(parts), *logs_api.ROUTES, *promql_api.ROUTES])
    parts.counted["queries"] = lambda: {"requests": queries.queries.requests, **queries.queries.refusals}
    private = stack.enter_context(contextlib.closing(outside.queries()))
    stack.callback(settings.telemetry_socket.unlink, missing_ok=True)
    await stack.enter_async_context(outside.listen(queries, [private], lambda: None))
    door = Door(outside.tokens, origins(knobs.cors))
    receiver = HttpReceiver(parts.intake, door, clock)
    await stack.enter_async_context(outside.listen(receiver, [outside.http], lambda: None))
    parts.http_port = int(outside.http.getsockname()[1])
    parts.grpc_port = await stack.enter_async_context(
        grpc.listening(
            grpc.GrpcReceiver(parts.intake, door),
            knobs.host,
            knobs.grpc_port,
            body_limit=knobs.body_limit,
            taken=outside.taken,
        )
    )
