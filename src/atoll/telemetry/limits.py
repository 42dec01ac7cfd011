"""What receiving may take: bytes held at once, in all and of one body, and what one item may contain.

A byte is held from its arrival until what it belongs to is committed or refused: compressed, inflated and waiting bytes
all count. Beyond the bound senders are told to come back; nothing that was taken is thrown away for newer data.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from atoll.errors import AtollError

BODY_SECONDS = 10.0
"""Seconds in which a body must have come."""
IN_PROGRESS = 4096
"""Requests in progress at most, waiting for their commit included."""
ITEMS = 1 << 16
"""Spans or records of one body at most: an empty one has 2 bytes on the wire and hundreds in memory."""
ITEM_BYTES = 1 << 20
"""Bytes of one span, log record, resource or scope; a larger one is rejected."""
ITEM_PARTS = 1024
"""Attributes, events or links of one item; one with more is rejected."""
METRIC_POINTS = 8192
"""Data points of one metric; one with more is rejected."""
JSON_BYTES = 4 << 20
"""Bytes of a JSON body: as Python objects it takes thirty times as much."""


class BufferFull(AtollError):
    """As many bytes wait to be committed as may; `retry_after` seconds later there is room."""

    code, status, title = "buffer-full", 429, "Buffer full"


class UnsupportedMedia(AtollError):
    """A content type or encoding that is not taken."""

    code, status, exit_code, title = "unsupported-media", 415, 2, "Unsupported media type"


class Room:
    """Bytes that may be held at once, by all requests together."""

    def __init__(self, limit: int, *, retry_after: float) -> None:
        self.limit = limit
        self.held = 0
        self.most = 0
        """The most that was held at once."""
        self._retry_after = retry_after

    def claim(self) -> Claim:
        """A claim of nothing yet; what it takes is given back when its block ends."""
        return Claim(self)

    def require(self, size: int) -> None:
        """Whether `size` more bytes fit.

        Raises:
            BufferFull: they do not.
        """
        if self.held + size > self.limit:
            raise BufferFull(
                f"{self.held} bytes wait to be committed, {self.limit} may",
                hint="send it again later; ATOLL_TELEMETRY_BUFFER_BYTES allows more",
                retry_after=self._retry_after,
            )


class Claim:
    """What one request holds. Made by `Room.claim`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held = 0

    def take(self, size: int) -> None:
        """Hold `size` more bytes.

        Raises:
            BufferFull: there is no room for them.
        """
        room = self._room
        room.require(size)
        room.held += size
        room.most = max(room.most, room.held)
        self._held += size

    def keep(self, size: int) -> None:
        """Hold `size` bytes from now on, not what was taken before; more than that is taken.

        Raises:
            BufferFull: there is no room for them; what was held stays held.
        """
        if size > self._held:
            self.take(size - self._held)
        else:
            self._room.held -= self._held - size
            self._held = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.held -= self._held
        self._held = 0
