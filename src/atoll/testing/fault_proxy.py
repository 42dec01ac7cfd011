"""A TCP (or unix socket) proxy that breaks connections on purpose, in each way a network does, while it runs.

Owns the sockets between a client and an upstream. Promises that with no fault set every byte passes unchanged, that a
fault set while connections are open takes hold of them at their next chunk, and that everything done is counted.
Bounded: at most CONNECTION_LIMIT connections, one chunk of CHUNK bytes held per direction. Refuses nothing silently.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from atoll.kit.accepting import stop_accepting
from atoll.kit.clock import Clock, SystemClock
from atoll.kit.tasks import Tasks, owned

CHUNK = 16 * 1024
"""Bytes forwarded at once, and so the granularity of `delay` and `rate`."""
CONNECTION_LIMIT = 1000
"""Open connections at most; one more is reset and counted in `refused`."""
_NO_LINGER = struct.pack("ii", 1, 0)

Place = tuple[str, int] | Path
"""Host and port, or the path of a unix socket."""


@dataclass
class Direction:
    """What happens to the bytes that flow one way. Every attribute may be changed at any time."""

    delay: float = 0.0
    """Seconds each chunk is kept back."""
    rate: float | None = None
    """Bytes per second; None is unlimited."""
    cut_after: int | None = None
    """Bytes of one connection after which it ends (0: before the first); see `reset`."""
    reset: bool = False
    """Whether a cut is a RST (both sides get an error) instead of a clean end."""
    half: bool = False
    """Forward the first half of the next chunk, then cut: a half answer."""
    garbage: bytes | None = None
    """Sent instead of every chunk."""
    passed: int = 0
    """Bytes forwarded so far, over all connections."""
    _flowing: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def __post_init__(self) -> None:
        self._flowing.set()

    @property
    def black_hole(self) -> bool:
        """Whether bytes are held back without a word, as in a silent partition; nothing is lost when it heals."""
        return not self._flowing.is_set()

    @black_hole.setter
    def black_hole(self, on: bool) -> None:
        if on:
            self._flowing.clear()
        else:
            self._flowing.set()

    def heal(self) -> None:
        """No faults; held bytes go on."""
        self.delay, self.rate, self.cut_after, self.garbage = 0.0, None, None, None
        self.reset = self.half = self.black_hole = False

    async def flowing(self) -> None:
        """Wait for the end of the black hole."""
        await self._flowing.wait()


@dataclass
class Counts:
    """What the proxy did since it started."""

    connections: int = 0
    open: int = 0
    refused: int = 0
    """Connections reset at once: told to (`refuse`), over the limit, or because the upstream is not there."""
    cuts: int = 0
    resets: int = 0
    garbled: int = 0


class FaultProxy:
    """`async with FaultProxy(("127.0.0.1", 8080)) as proxy:` listens on `proxy.host`/`proxy.port` or on `listen`.

    `to_server` and `to_client` are the two directions; `refuse` resets every new connection.
    """

    def __init__(self, upstream: Place, *, listen: Place = ("127.0.0.1", 0), clock: Clock | None = None) -> None:
        self.upstream = upstream
        self.to_server = Direction()
        self.to_client = Direction()
        self.refuse = False
        self.counts = Counts()
        self._listen = listen
        self._clock = clock or SystemClock()
        self._stack = contextlib.AsyncExitStack()
        self._open: set[_Pair] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> Place:
        """Where it listens."""
        if isinstance(self._listen, Path):
            return self._listen
        assert self._server is not None, "the proxy is not started"
        host, port = self._server.sockets[0].getsockname()[:2]
        return (str(host), int(port))

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        address = self.address
        assert not isinstance(address, Path), "the proxy listens on a unix socket"
        return address[1]

    def black_hole(self, on: bool = True) -> None:
        """Hold everything back, both ways; the ends see nothing but silence."""
        self.to_server.black_hole = self.to_client.black_hole = on

    def heal(self) -> None:
        """Stop every fault; open connections go on."""
        self.refuse = False
        self.to_server.heal()
        self.to_client.heal()

    def reset_all(self) -> int:
        """RST every open connection now; returns how many."""
        open_now = list(self._open)
        for pair in open_now:
            pair.end(reset=True)
        self.counts.resets += len(open_now)
        return len(open_now)

    async def __aenter__(self) -> Self:
        tasks = await self._stack.enter_async_context(owned("fault-proxy"))

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.start("connection", self._serve(tasks, reader, writer))

        if isinstance(self._listen, Path):
            self._server = await asyncio.start_unix_server(accept, str(self._listen))
        else:
            self._server = await asyncio.start_server(accept, *self._listen)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        await stop_accepting(self._server)
        await self._stack.aclose()  # without the body's error, which must come out as it is, not in a group

    async def _serve(self, tasks: Tasks, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        pair = _Pair(writer)
        try:
            if self.refuse or len(self._open) >= CONNECTION_LIMIT:
                raise ConnectionRefusedError("on purpose")
            far_reader, far_writer = await _connect(self.upstream)
        except OSError:
            self.counts.refused += 1
            pair.reset = True
            return await pair.close()
        except asyncio.CancelledError:
            writer.close()
            raise
        pair.writers.append(far_writer)
        pair.pumps = [
            tasks.start("to-server", self._pump(pair, self.to_server, reader, far_writer)),
            tasks.start("to-client", self._pump(pair, self.to_client, far_reader, writer)),
        ]
        self._open.add(pair)
        self.counts.open += 1
        try:
            await asyncio.wait(pair.pumps)
        finally:
            self._open.discard(pair)
            self.counts.open -= 1
            await pair.close()

    async def _pump(
        self, pair: _Pair, way: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        sent = 0
        try:
            while chunk := await reader.read(CHUNK):
                if way.delay:
                    await self._clock.sleep(way.delay)
                await way.flowing()
                chunk, last = self._shape(way, chunk, sent)
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)
                way.passed += len(chunk)
                if last:
                    self.counts.resets += way.reset
                    self.counts.cuts += not way.reset
                    pair.end(reset=way.reset)
                    return
                if way.rate:
                    await self._clock.sleep(len(chunk) / way.rate)
            await way.flowing()  # a silent partition hides the end as well
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:  # one end is gone: so is the other, in the same way
            pair.end(reset=True)

    def _shape(self, way: Direction, chunk: bytes, sent: int) -> tuple[bytes, bool]:
        """What to send of a chunk, and whether the connection ends after it."""
        if way.garbage is not None:
            self.counts.garbled += 1
            chunk = way.garbage
        if way.cut_after is not None and sent + len(chunk) >= way.cut_after:
            return chunk[: max(0, way.cut_after - sent)], True
        if way.half:
            return chunk[: len(chunk) // 2], True
        return chunk, False


class _Pair:
    """One connection: its two ends, its two pumps, and how it ended."""

    def __init__(self, near: asyncio.StreamWriter) -> None:
        self.writers = [near]
        self.pumps: list[asyncio.Task[None]] = []
        self.reset = False

    def end(self, *, reset: bool) -> None:
        self.reset = self.reset or reset
        for pump in self.pumps:
            pump.cancel()

    async def close(self) -> None:
        for writer in self.writers:  # all at once: who waits for the first may be cancelled
            if self.reset:
                with contextlib.suppress(OSError):  # the other end may have been quicker
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                writer.transport.abort()
            else:
                writer.close()
        for writer in self.writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _connect(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(place, Path):
        return await asyncio.open_unix_connection(str(place))
    return await asyncio.open_connection(*place)
