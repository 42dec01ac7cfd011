"""Which items of a body can be stored: each is decoded by itself, looked at, and left out if it cannot. Pure.

All three of OTLP's requests have the same outer form: resources, in them scopes, in them items. Their frames are read
here; what cannot be read at this level is no OTLP and is refused as a whole. An item, a resource or a scope that is
damaged inside (invalid UTF-8, nested a hundred deep, too large) costs only what belongs to it. Of decoded items nothing
is kept: a body costs at most its largest item in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from atoll.errors import TooLarge
from atoll.telemetry.limits import ITEM_BYTES, ITEM_PARTS, ITEMS, METRIC_POINTS
from atoll.telemetry.receive import wire
from atoll.telemetry.signal import Signal

SMALL = 2 * ITEM_PARTS
"""Bytes below which an item cannot have too many parts, since each takes two."""
NO_TRACE, NO_SPAN = bytes(16), bytes(8)
Judge = Callable[[bytes], str]
"""Why an item cannot be stored; empty: it can."""
TWO = 2 << 3 | wire.LEN
"""The tag of scopes in a resource, and of items in a scope."""


@dataclass
class Checked:
    """What is left of a body, how many items are in it, and how many are not, by reason."""

    body: bytes
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    frames: int = 0

    def seen(self) -> None:
        """One more part that holds items, or stands beside them.

        Raises:
            TooLarge: there are more than any sender needs.
        """
        self.frames += 1
        if self.frames > ITEMS:
            raise _too_many()

    def move(self, before: int, reason: str) -> None:
        """What was accepted since `before` is rejected with what it shares."""
        self.rejected[reason] += self.accepted - before
        self.accepted = before


def check(signal: Signal, body: bytes) -> Checked:
    """Look through an export request. Blocking: 2 µs an item.

    Raises:
        BadRequest: it is not protobuf at the levels that hold the items.
        TooLarge: it has more than ITEMS items.
    """
    found = Checked(body)
    kept = _kept(body, 0, len(body), JUDGES[signal], found)
    if kept is not None:
        found.body = kept
    return found


def why(rejected: Counter[str]) -> str:
    """The reasons, for the sender."""
    return ", ".join(f"{count}: {reason}" for reason, count in rejected.most_common(5))


def span_reason(item: bytes) -> str:
    """Why a span cannot be stored."""
    if len(item) > ITEM_BYTES:
        return "too large"
    try:
        span = Span.FromString(item)
    except DecodeError:
        return "malformed"
    identity = span.trace_id
    if len(identity) != 16 or identity == NO_TRACE:
        return "trace id"
    identity = span.span_id
    if len(identity) != 8 or identity == NO_SPAN:
        return "span id"
    if len(item) > SMALL and max(len(span.attributes), len(span.events), len(span.links)) > ITEM_PARTS:
        return "too many attributes, events or links"
    return ""


def record_reason(item: bytes) -> str:
    """Why a log record cannot be stored. Its ids are optional: wrong ones do not cost the record."""
    if len(item) > ITEM_BYTES:
        return "too large"
    try:
        record = LogRecord.FromString(item)
    except DecodeError:
        return "malformed"
    if len(item) > SMALL and len(record.attributes) > ITEM_PARTS:
        return "too many attributes"
    return ""


def metric_reason(item: bytes) -> str:
    """Why a metric cannot be looked at; its points are judged where they are stored."""
    if len(item) > ITEM_BYTES:
        return "too large"
    try:
        metric = Metric.FromString(item)
    except DecodeError:
        return "malformed"
    kind = metric.WhichOneof("data")
    if len(item) > SMALL and kind is not None and len(getattr(metric, kind).data_points) > METRIC_POINTS:
        return "too many points in one metric"
    return ""


JUDGES: dict[Signal, Judge] = {
    Signal.TRACES: span_reason,
    Signal.LOGS: record_reason,
    Signal.METRICS: metric_reason,
}


def _kept(body: bytes, at: int, end: int, judge: Judge, found: Checked) -> bytes | None:
    """What is left of a request; None: all of it."""
    pieces: list[bytes] = []
    changed = False
    for which, kind, start, content, stop in wire.fields(body, at, end):
        found.seen()
        piece: bytes | None = None
        if which == 1:
            if kind != wire.LEN:
                raise wire.malformed()
            piece = _resource(body, content, stop, judge, found)
        changed = changed or piece is not None
        pieces.append(body[start:stop] if piece is None else wire.field(1, piece) if piece else b"")
    return b"".join(pieces) if changed else None


def _resource(body: bytes, at: int, end: int, judge: Judge, found: Checked) -> bytes | None:
    """What is left of a resource with its scopes; None: all of it."""
    pieces: list[bytes] = []
    changed = False
    reason, before = "", found.accepted
    for which, kind, start, content, stop in wire.fields(body, at, end):
        found.seen()
        piece: bytes | None = None
        if which == 2:
            if kind != wire.LEN:
                raise wire.malformed()
            piece = _scope(body, content, stop, judge, found)
        elif which == 1 and kind == wire.LEN:
            reason = reason or _shared(body[content:stop], Resource, "resource")
        changed = changed or piece is not None
        pieces.append(body[start:stop] if piece is None else wire.field(2, piece) if piece else b"")
    if reason:
        found.move(before, reason)
        return b""
    return b"".join(pieces) if changed else None


def _scope(body: bytes, at: int, end: int, judge: Judge, found: Checked) -> bytes | None:
    """What is left of a scope with its items; None: all of it."""
    first, reason, before = at, "", found.accepted
    left_out: list[tuple[int, int]] = []
    while at < end:
        start = at
        if body[at] != TWO:
            found.seen()
            which, kind, _, content, at = next(wire.fields(body, at, end))
            if which == 1 and kind == wire.LEN:
                reason = reason or _shared(body[content:at], InstrumentationScope, "scope")
            continue
        size, at = _size(body, at + 1, end)
        stop = at + size
        if stop > end:
            raise wire.malformed()
        problem = judge(body[at:stop])
        if problem:
            found.rejected[problem] += 1
            left_out.append((start, stop))
        else:
            found.accepted += 1
        if found.accepted + len(left_out) > ITEMS:
            raise _too_many()
        at = stop
    if reason:
        found.move(before, reason)
        return b""
    return _without(body, first, end, left_out) if left_out else None


def _size(body: bytes, at: int, end: int) -> tuple[int, int]:
    """A length: one and two bytes are what nearly all have."""
    if at + 1 < end:
        size = body[at]
        if size < 0x80:
            return size, at + 1
        high = body[at + 1]
        if high < 0x80:
            return size & 0x7F | high << 7, at + 2
    return wire.varint(body, at, end)


def _without(body: bytes, at: int, end: int, left_out: list[tuple[int, int]]) -> bytes:
    pieces: list[bytes] = []
    for start, stop in left_out:
        pieces.append(body[at:start])
        at = stop
    pieces.append(body[at:end])
    return b"".join(pieces)


def _shared(content: bytes, message: type[Any], name: str) -> str:
    """What is wrong with the resource, or the scope, that items share."""
    if len(content) > ITEM_BYTES:
        return f"{name} too large"
    try:
        parsed = message.FromString(content)
    except DecodeError:
        return f"{name} malformed"
    too_many = len(content) > SMALL and len(parsed.attributes) > ITEM_PARTS
    return f"{name} has too many attributes" if too_many else ""


def _too_many() -> TooLarge:
    return TooLarge(f"the body has more than {ITEMS} items", hint="export less at a time", limit=ITEMS)
