"""The way of a request from its bytes to its commit, the same for HTTP and gRPC: inflate, read, check, wait, count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from atoll.errors import AtollError, Overloaded
from atoll.telemetry.buffer import Buffer
from atoll.telemetry.inflate import inflate
from atoll.telemetry.limits import IN_PROGRESS, JSON_BYTES, Claim, Room
from atoll.telemetry.receive import jsonbody
from atoll.telemetry.receive.check import Checked, check, why
from atoll.telemetry.receive.counts import Counts
from atoll.telemetry.signal import Signal

INLINE = 32 << 10
"""Bytes up to which a body is looked through on the event loop: a thread would cost as much (0.1 ms)."""
INLINE_PACKED = 1 << 10
"""The same of compressed bodies, which may be a thousand times as large."""
LARGE = 2
"""Larger bodies that are looked through at the same time."""


class Form(StrEnum):
    """How a request is written."""

    PROTOBUF = "protobuf"
    JSON = "json"


@dataclass(frozen=True)
class Taken:
    """A request that was answered with success: what is committed, and what could not be."""

    accepted: int
    rejected: Counter[str]

    @property
    def reason(self) -> str:
        """For the sender."""
        return why(self.rejected)


@dataclass(frozen=True)
class Parcel:
    """A request as it came. `limit`: bytes after inflating."""

    signal: Signal
    raw: bytes
    encoding: str
    form: Form
    limit: int

    @property
    def plain(self) -> bool:
        """Whether it is as large as it looks."""
        return self.encoding in {"", "identity"}


Metrics = Callable[[bytes], Awaitable[Taken]]
"""Commits the body of a metrics request; its own data points are its items."""


class Intake:
    """See the module. `body_limit`: bytes of one body after inflating."""

    def __init__(self, buffer: Buffer, metrics: Metrics, room: Room, *, body_limit: int) -> None:
        self.counts = Counts()
        self.room = room
        self.body_limit = body_limit
        self._buffer = buffer
        self._metrics = metrics
        self._json = asyncio.Semaphore(1)
        """One body at a time is made of Python objects."""
        self._large = asyncio.Semaphore(LARGE)

    def enter(self) -> None:
        """One more request is in progress; `leave` must follow.

        Raises:
            Overloaded: too many are.
        """
        self.counts.in_progress += 1
        if self.counts.in_progress > IN_PROGRESS:
            raise Overloaded(f"{IN_PROGRESS} requests are in progress", hint="send it again later", retry_after=1)

    def leave(self) -> None:
        """It is answered."""
        self.counts.in_progress -= 1

    def refused(self, error: AtollError) -> None:
        """A request was answered with an error."""
        self.counts.refused[error.code] += 1

    async def take(self, signal: Signal, raw: bytes, claim: Claim, *, encoding: str, form: Form, way: str) -> Taken:
        """Commit a request; returns when it is on disk. `raw` is claimed already.

        Raises:
            BadRequest, TooLarge, UnsupportedMedia: it cannot be read, or is more than one request may be.
            BufferFull, Overloaded, StorageFull: not now; the error says when to come back.
        """
        counts = self.counts
        counts.requests[signal, way] += 1
        counts.bytes[signal] += len(raw)
        if not raw:
            return Taken(0, Counter())
        found = await self._prepared(Parcel(signal, raw, encoding, form, self.body_limit))
        claim.keep(len(found.body))
        if signal is Signal.METRICS:
            taken = await self._metrics(found.body) if found.accepted else Taken(0, Counter())
            taken = Taken(taken.accepted, taken.rejected + found.rejected)
        else:
            if found.accepted:
                await self._buffer.add(signal, found.body)
            taken = Taken(found.accepted, found.rejected)
        counts.accepted[signal] += taken.accepted
        for reason, count in taken.rejected.items():
            counts.rejected[signal, reason] += count
        return taken

    async def _prepared(self, parcel: Parcel) -> Checked:
        """What is small is read here, what may be large in a thread: few at a time, as each takes memory of its own."""
        small = INLINE if parcel.plain else INLINE_PACKED
        if parcel.form is Form.PROTOBUF and len(parcel.raw) <= small:
            return prepare(parcel)
        async with self._json if parcel.form is Form.JSON else self._large:
            return await asyncio.to_thread(prepare, parcel)


def prepare(parcel: Parcel) -> Checked:
    """Inflate, read and check. Blocking.

    Raises:
        BadRequest, TooLarge, UnsupportedMedia: as `take`.
    """
    as_json = parcel.form is Form.JSON
    body = inflate(parcel.raw, parcel.encoding, min(parcel.limit, JSON_BYTES) if as_json else parcel.limit)
    unread: Counter[str] = Counter()
    if as_json:
        body, unread = jsonbody.protobuf(parcel.signal, body)
    found = check(parcel.signal, body)
    found.rejected += unread
    return found
