"""The outermost levels of protobuf, read without decoding what is inside. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.errors import BadRequest

VARINT, I64, LEN, START, END, I32 = range(6)
LONGEST = 10
"""Bytes of a varint at most."""


def malformed(what: str = "the body is not OTLP's protobuf") -> BadRequest:
    """The refusal of bytes that are no protobuf."""
    return BadRequest(what, hint="send an Export…ServiceRequest as OTLP defines it")


def varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at `at`, and where it ends.

    Raises:
        BadRequest: there is none.
    """
    value = shift = 0
    for here in range(at, min(end, at + LONGEST)):
        byte = body[here]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, here + 1
        shift += 7
    raise malformed()


def fields(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """(number, wire type, start of the field, start of its content, end) of every field of a message.

    Raises:
        BadRequest: it is not a message; groups are not taken.
    """
    while at < end:
        start = at
        tag, at = varint(body, at, end)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise malformed()
        if kind == LEN:
            size, at = varint(body, at, end)
            stop = at + size
        elif kind == VARINT:
            _, stop = varint(body, at, end)
        elif kind == I64:
            stop = at + 8
        elif kind == I32:
            stop = at + 4
        else:
            raise malformed()
        if stop > end:
            raise malformed()
        yield number, kind, start, at, stop
        at = stop


def field(number: int, content: bytes) -> bytes:
    """A field with a length in front, as it is written."""
    return length(number << 3 | LEN) + length(len(content)) + content


def length(number: int) -> bytes:
    """A number as a varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
