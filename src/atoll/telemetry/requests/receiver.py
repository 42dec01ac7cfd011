"""The reading end of HAProxy's request log: a unix socket, a buffer, an insert now and then.

    async with receiving(settings.requests_socket, pool, clock) as receiver:
        receiver.counts

No line is touched one by one: a block goes from the socket into the insert as it came, the engine reads it. What waits
is bounded by HELD; beyond it we stop reading, HAProxy's ring fills, and what it then loses it says (`Counts.dropped`).
So a slow, full or absent engine costs lines, never requests. How many are missing in all is in `gaps`: HAProxy numbers
its lines, which also finds those that nobody could count.

A HAProxy that ends after a reload closes its ring at once. What its clients still ask for comes as datagrams, beside
the socket.

A line is committed at least once. A commit that the engine cannot read is halved until the culprit is alone; that one
is set aside (counted, its start in the log), its neighbours are stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import msgspec

from atoll.errors import AtollError, BadRequest
from atoll.kit.accepting import stop_accepting
from atoll.kit.backoff import Backoff
from atoll.kit.clock import Clock, Instant
from atoll.kit.files import private_folder
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.telemetry.engine import Insert
from atoll.telemetry.requests.gaps import Rows, read_gaps
from atoll.telemetry.requests.lines import ENDING, halves, sort

HELD = 16 << 20
"""Bytes of lines that wait here for the engine, at most, and one block of each connection."""
REMARKS_HELD = 1000
"""Lines of HAProxy itself that wait, at most; further ones count as odd."""
BATCH = 4 << 20
"""Bytes of one commit."""
LINE_LIMIT = 64 << 10
"""Bytes without a line's end after which a connection is not HAProxy's log."""
LAST_SOCKETS = 8
"""Sockets for them, which HAProxy fills in turn: the system queues ten on each."""
DATAGRAMS = 256
"""Datagrams that are read in a row."""
CONNECTIONS = 64
"""Open at once: one for each HAProxy process that lives."""
FIRST_WAIT = 0.05
"""Seconds that lines are gathered after quiet."""
INTERVAL, LONGEST_INTERVAL = 0.4, 0.7
"""Seconds between two commits: a commit costs some 20 ms whatever is in it. Longer when commits are slow."""
SHARE = 4
"""A commit is followed by a pause of this many times what it took, up to the longest interval."""
GAPS_EVERY = 3.0
"""Seconds between two looks at what is missing."""
COMPLAINT_EVERY = 60.0
"""Seconds between two log lines about lines that cannot be read."""
LAST_WAIT = 5.0
"""Seconds that the last lines have to be committed when the process stops."""

LINES = {
    "input_format_tsv_allow_variable_number_of_columns": 1,
    "input_format_tsv_detect_header": 0,
}
"""Settings with which no line makes an insert of lines fail."""
_WARNING, _INFO = (13, "WARN"), (9, "INFO")
_ALARMING = (" is DOWN", "no server available", "is going DOWN", "lost")


class Inserts(Protocol):
    """What committing needs of `EnginePool`."""

    async def insert(self, insert: Insert) -> None:
        """See `EnginePool.insert`."""


class Pool(Inserts, Rows, Protocol):
    """What we need of `EnginePool`."""


@dataclass
class Counts:
    """Since the start of the process. Every line that came is waiting, committed, odd or lost."""

    connections: int = 0
    """Open now."""
    refused: int = 0
    """Connections beyond CONNECTIONS, or that sent no lines."""
    lines: int = 0
    """Lines of requests that came."""
    last_lines: int = 0
    """Of these, lines of a HAProxy that was ending."""
    bytes: int = 0
    committed: int = 0
    waiting: int = 0
    """Bytes that are not committed yet."""
    dropped: int = 0
    """Lines that HAProxy had no room for, as it says."""
    recorded: int = 0
    """Requests with a line, of all that the store remembers; GAPS_EVERY old at most."""
    missing: int = 0
    """Requests without a line, of all that the store remembers, by HAProxy's numbers; GAPS_EVERY old at most."""
    odd: int = 0
    """Lines that cannot be read, or were too many (of HAProxy itself); set aside."""
    lost: int = 0
    """Lines that we had and could not commit before the process stopped."""
    remarks: int = 0
    """Lines of HAProxy itself: of servers that go up and down."""
    commits: int = 0
    failures: int = 0
    """Commits that the engine refused; they are tried again."""
    pauses: int = 0
    """Times that we stopped reading because too much waits."""


class Receiver:
    """See the module. Lives on one event loop."""

    def __init__(self, pool: Inserts, clock: Clock) -> None:
        self.counts = Counts()
        self._pool = pool
        self._clock = clock
        self._log = Log("requests")
        self._blocks: list[tuple[bytes, int]] = []
        self._remarks: list[tuple[float, str]] = []
        self._news = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._alone = asyncio.Event()
        self._alone.set()
        self._acting = asyncio.Lock()
        self._paused = False
        self._complained: Instant | None = None

    # ------------------------------------------------------------------------------------------------ lines in

    def take(self, block: bytes) -> None:
        """Whole lines have come."""
        sorted_block = sort(block)
        counts = self.counts
        counts.bytes += len(block)
        counts.lines += sorted_block.count
        counts.dropped += sorted_block.dropped
        if sorted_block.odd:
            self._odd(sorted_block.odd, block)
        if sorted_block.remarks:
            now = self._clock.wall()
            room = max(0, REMARKS_HELD - len(self._remarks))
            counts.remarks += len(sorted_block.remarks)
            counts.odd += len(sorted_block.remarks[room:])
            self._remarks += ((now, remark) for remark in sorted_block.remarks[:room])
        if sorted_block.count:
            self._blocks.append((sorted_block.requests, sorted_block.count))
            counts.waiting += len(sorted_block.requests)
        if self._blocks or self._remarks:
            self._news.set()
        if counts.waiting >= HELD and not self._paused:
            self._pause(stop=True)

    def take_last(self, line: bytes) -> None:
        """The line of a request to a HAProxy that ends. What it says of itself it says in its ring too."""
        line = line if line.endswith(b"\n") else line + b"\n"
        if not line.endswith(ENDING):
            return
        if self._paused:
            self.counts.dropped += 1
            return
        self.counts.last_lines += 1
        self.take(line)

    def _odd(self, count: int, text: bytes) -> None:
        self.counts.odd += count
        now = self._clock.now()
        if self._complained is None or now - self._complained >= COMPLAINT_EVERY:
            self._complained = now
            start = text[:200].decode("utf-8", "replace")
            self._log.warning("lines of the request log cannot be read", so_far=self.counts.odd, start=start)

    def _pause(self, *, stop: bool) -> None:
        self._paused = stop
        self.counts.pauses += stop
        for connection in self._connections:
            connection.read(stop=stop)

    def joined(self, connection: _Connection) -> bool:
        """A connection was made; False: there are too many."""
        if len(self._connections) >= CONNECTIONS:
            self.counts.refused += 1
            return False
        self._connections.add(connection)
        self._alone.clear()
        self.counts.connections = len(self._connections)
        if self._paused:
            connection.read(stop=True)
        return True

    def left(self, connection: _Connection, rest: bytes) -> None:
        """It ended; `rest` is a line without an end."""
        self._connections.discard(connection)
        self.counts.connections = len(self._connections)
        if not self._connections:
            self._alone.set()
        if rest:
            self._odd(1, rest)

    async def hang_up(self) -> None:
        """Read what was sent and no more; HAProxy keeps what comes from now on. A commit under way is the last one."""
        for connection in tuple(self._connections):
            connection.hang_up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WAIT):
                await self._alone.wait()
                await self._acting.acquire()
        for connection in tuple(self._connections):
            connection.abort()

    # --------------------------------------------------------------------------------------------- commits out

    async def run(self) -> None:
        """Commit what comes, for ever."""
        last = Instant(self._clock.now() - LONGEST_INTERVAL)
        interval = INTERVAL
        while True:
            await self._news.wait()
            await self._clock.sleep(max(FIRST_WAIT, last + interval - self._clock.now()))
            began = self._clock.now()
            async with self._acting:
                await self._flush()
            last = self._clock.now()
            interval = min(LONGEST_INTERVAL, max(INTERVAL, SHARE * (last - began)))

    async def look(self, rows: Rows) -> None:
        """Find out what is missing, again and again, for ever."""
        lines = -1
        while True:
            if lines != self.counts.committed:
                lines = self.counts.committed
                try:
                    gaps = await read_gaps(rows)
                    self.counts.recorded, self.counts.missing = gaps.lines, gaps.lost
                except AtollError as error:
                    self._log.debug("what is missing cannot be counted", cause=error)
                    lines = -1
            await self._clock.sleep(GAPS_EVERY)

    async def finish(self) -> None:
        """Commit what waits; what the engine does not take in LAST_WAIT is lost, and counted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WAIT):
                while self._blocks or self._remarks:
                    await self._flush()
        self.counts.lost += sum(count for _, count in self._blocks)

    async def _flush(self) -> None:
        """Commit what waits now; what comes meanwhile is for the next time."""
        self._news.clear()
        left = len(self._blocks)
        while left:
            size, end = 0, 0
            while end < left and size < BATCH:
                size += len(self._blocks[end][0])
                end += 1
            await self._commit(b"".join(block for block, _ in self._blocks[:end]))
            del self._blocks[:end]
            left -= end
            self.counts.waiting -= size
            if self._paused and self.counts.waiting < HELD // 2:
                self._pause(stop=False)
        remarks, self._remarks = self._remarks, []
        if remarks:
            try:
                await self._insert(_remarks_insert(remarks))
            except BadRequest as error:
                self._log.warning("the engine cannot read what HAProxy says", cause=error)
                self.counts.odd += len(remarks)

    async def _commit(self, lines: bytes) -> None:
        try:
            await self._insert(Insert(table="raw_requests", format="TSVRaw", data=(lines,), settings=LINES))
        except BadRequest as error:
            one, other = halves(lines)
            if not other:
                self._log.warning("the engine cannot read a line of the request log", cause=error)
                self._odd(1, one)
                return
            await self._commit(one)
            await self._commit(other)
        else:
            self.counts.committed += lines.count(b"\n")

    async def _insert(self, insert: Insert) -> None:
        """Insert, however long it takes: the engine may be full, busy or on its way back."""
        backoff = Backoff(base=0.2, cap=5.0)
        while True:
            try:
                await self._pool.insert(insert)
            except BadRequest:
                raise
            except AtollError as error:
                self.counts.failures += 1
                wait = backoff.next()
                self._log.warning("requests wait for the engine", cause=error, bytes=self.counts.waiting)
                await self._clock.sleep(wait)
            else:
                self.counts.commits += 1
                return


class _Connection(asyncio.Protocol):
    """One HAProxy process that writes."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._receiver.joined(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        end = data.rfind(b"\n") + 1
        if end:
            block = self._rest + data[:end] if self._rest else data[:end]
            self._rest = data[end:]
            self._receiver.take(block)
        else:
            self._rest += data
        if len(self._rest) > LINE_LIMIT and self._transport is not None:
            self._receiver.counts.refused += 1
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._receiver.left(self, self._rest)

    def read(self, *, stop: bool) -> None:
        """Stop reading, or go on."""
        if self._transport is not None and not self._transport.is_closing():
            if stop:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def hang_up(self) -> None:
        """The other side can write no more; what it wrote is still read."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            with socket.fromfd(
                self._transport.get_extra_info("socket").fileno(), socket.AF_UNIX, socket.SOCK_STREAM
            ) as own:
                own.shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def _remarks_insert(remarks: list[tuple[float, str]]) -> Insert:
    """HAProxy's own words as log records of the platform."""
    rows = []
    for wall, text in remarks:
        number, word = _WARNING if any(sign in text for sign in _ALARMING) else _INFO
        rows.append(
            {
                "Timestamp": f"{wall:.3f}",
                "SeverityNumber": number,
                "SeverityText": word,
                "ServiceName": "gateway",
                "Source": "platform",
                "Body": text,
                "ScopeName": "haproxy",
            }
        )
    data = b"\n".join(msgspec.json.encode(row) for row in rows)
    return Insert(table="logs", format="JSONEachRow", data=(data,), columns=tuple(rows[0]))


@asynccontextmanager
async def receiving(path: Path, pool: Pool, clock: Clock) -> AsyncIterator[Receiver]:
    """The request log is read from the unix socket `path` and committed, for the length of the block.

    Raises:
        OSError: the socket cannot be made.
    """
    receiver = Receiver(pool, clock)
    listener, datagrams = await asyncio.to_thread(_listen, path)

    def read_last() -> None:
        for one in datagrams:
            _read_last(one, receiver)

    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: _Connection(receiver), sock=listener)
    try:
        for one in datagrams:
            loop.add_reader(one.fileno(), _read_last, one, receiver)
        async with owned("requests") as tasks:
            tasks.start("commit", receiver.run())
            tasks.start("gaps", receiver.look(pool))
            yield receiver
            await stop_accepting(server)
            read_last()
            await receiver.hang_up()
        await receiver.finish()
    finally:
        for one in datagrams:
            loop.remove_reader(one.fileno())
            one.close()
        server.close()


def _read_last(datagrams: socket.socket, receiver: Receiver) -> None:
    with contextlib.suppress(BlockingIOError):
        for _ in range(DATAGRAMS):
            receiver.take_last(datagrams.recv(LINE_LIMIT))


def _listen(path: Path) -> tuple[socket.socket, list[socket.socket]]:
    """The listener of rings, and beside it the sockets for last lines (gateway/request_log.py names them the same)."""
    private_folder(path.parent)
    with contextlib.ExitStack() as opened:
        sockets = []
        last = [(socket.SOCK_DGRAM, path.with_suffix(f".last{turn}")) for turn in range(LAST_SOCKETS)]
        for kind, place in ((socket.SOCK_STREAM, path), *last):
            sockets.append(opened.enter_context(socket.socket(socket.AF_UNIX, kind)))
            place.unlink(missing_ok=True)
            sockets[-1].bind(str(place))
            place.chmod(0o600)
            sockets[-1].setblocking(False)
        listener, *datagrams = sockets
        listener.listen(CONNECTIONS)
        opened.pop_all()
    return listener, datagrams
