"""Server-sent events out of a stream of bytes, within bounds. Pure: bytes in, frames out."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.errors import Unreachable

FRAME_LIMIT = 32 << 20
"""Bytes of one event; the largest commit of the store has 16 MiB of values."""


@dataclass(frozen=True)
class Frame:
    """One event. `event` is `message` when the sender named none."""

    event: str
    data: bytes
    id: str = ""


class Frames:
    """A decoder that is fed pieces as they come."""

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[Frame]:
        """The events that `piece` completes.

        Raises:
            Unreachable: an event is over the limit, so this is not atoll's stream.
        """
        looked = max(0, len(self._rest) - 1)
        self._rest += piece
        found: list[Frame] = []
        while (end := self._rest.find(b"\n\n", looked)) >= 0:
            frame = _frame(bytes(self._rest[:end]))
            del self._rest[: end + 2]
            looked = 0
            if frame is not None:
                found.append(frame)
        if len(self._rest) > self._limit:
            raise Unreachable(f"an event of the watch is over {self._limit} bytes", hint="is this atoll?")
        return found


def _frame(text: bytes) -> Frame | None:
    event, name, data = "message", "", []
    for line in text.split(b"\n"):
        field, _, value = line.rstrip(b"\r").partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            event = value.decode("ascii", "replace")
        elif field == b"id":
            name = value.decode("ascii", "replace")
    return Frame(event, b"\n".join(data), name) if data else None
