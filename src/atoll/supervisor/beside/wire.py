"""OTLP's Protobuf messages written by hand: no protobuf package is needed, so none can clash with the app's own.

Pure. Takes what the OpenTelemetry SDK hands to exporters (duck-typed) and records of `outbox`; returns bytes.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_FIXED = struct.Struct("<Q").pack
_SFIXED = struct.Struct("<q").pack
_DOUBLE = struct.Struct("<d").pack
_FLAGS = struct.Struct("<I").pack
MOST = (1 << 64) - 1
DEPTH = 8
"""Lists and maps nested deeper than this become text."""


class Scope(NamedTuple):
    """Who instrumented: an instrumentation scope."""

    name: str
    version: str = ""
    schema_url: str = ""


class Line(NamedTuple):
    """One log record. Times in ns since 1970; ids as numbers, 0 for none."""

    time: int
    scope: Scope
    body: Any
    severity: int = 0
    severity_text: str = ""
    trace_id: int = 0
    span_id: int = 0
    flags: int = 0
    event: str = ""
    attributes: Mapping[str, Any] | None = None


def _varint(number: int) -> bytes:
    number &= MOST
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_KEYS = {(at, kind): _varint(at << 3 | kind) for at in range(1, 20) for kind in (0, 1, 2, 5)}


def _part(at: int, body: bytes) -> bytes:
    """A field with a length: message, text or bytes."""
    return _KEYS[at, 2] + _varint(len(body)) + body


def _text(at: int, text: str) -> bytes:
    return _part(at, text.encode("utf-8", "replace")) if text else b""


def _whole(at: int, number: int) -> bytes:
    return _KEYS[at, 0] + _varint(number) if number else b""


def _fixed(at: int, number: int) -> bytes:
    return _KEYS[at, 1] + _FIXED(number & MOST)


def _double(at: int, number: float) -> bytes:
    return _KEYS[at, 1] + _DOUBLE(number)


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else -number * 2 - 1


def value(given: Any, depth: int = 0) -> bytes:
    """An AnyValue."""
    if isinstance(given, str):
        return _part(1, given.encode("utf-8", "replace"))
    if isinstance(given, bool):
        return b"\x10\x01" if given else b"\x10\x00"
    if isinstance(given, int):
        fits = -(1 << 63) <= given < 1 << 63
        return _KEYS[3, 0] + _varint(given) if fits else _part(1, str(given).encode())
    if isinstance(given, float):
        return _double(4, given)
    if isinstance(given, bytes):
        return _part(7, given)
    if given is None:
        return b""
    if depth < DEPTH:
        if isinstance(given, Mapping):
            return _part(6, attributes(1, given, depth + 1))
        if isinstance(given, Sequence):
            return _part(5, b"".join(_part(1, value(one, depth + 1)) for one in given))
    return _part(1, str(given).encode("utf-8", "replace"))


def attributes(at: int, given: Mapping[str, Any] | None, depth: int = 0) -> bytes:
    """KeyValues in field `at`."""
    if not given:
        return b""
    return b"".join(_part(at, _text(1, str(key)) + _part(2, value(one, depth))) for key, one in given.items())


def resource(given: Mapping[str, Any]) -> bytes:
    """A Resource, as field 1 of ResourceSpans and its siblings."""
    return _part(1, attributes(1, given))


def export(resource_part: bytes, grouped: Mapping[Scope, Sequence[bytes]]) -> bytes:
    """An export request of one resource: spans, log records or metrics, by scope."""
    scopes = (
        _part(
            2,
            _part(1, _text(1, scope.name) + _text(2, scope.version))
            + b"".join(_part(2, one) for one in items)
            + _text(3, scope.schema_url),
        )
        for scope, items in grouped.items()
    )
    return _part(1, resource_part + b"".join(scopes))


def scope_of(given: Any) -> Scope:
    """The scope of the SDK's span, record or meter."""
    if given is None:
        return Scope("")
    return Scope(str(given.name), str(given.version or ""), str(given.schema_url or ""))


def span(one: Any) -> bytes:
    """A Span of the SDK's ReadableSpan."""
    context, parent = one.context, one.parent
    out = [
        _part(1, context.trace_id.to_bytes(16, "big")),
        _part(2, context.span_id.to_bytes(8, "big")),
        _text(3, _state(context)),
        _part(4, parent.span_id.to_bytes(8, "big")) if parent is not None and parent.span_id else b"",
        _text(5, str(one.name)),
        _whole(6, one.kind.value + 1),
        _fixed(7, one.start_time or 0),
        _fixed(8, one.end_time or 0),
        attributes(9, one.attributes),
        _whole(10, one.dropped_attributes),
    ]
    out += [
        _part(
            11,
            _fixed(1, event.timestamp)
            + _text(2, str(event.name))
            + attributes(3, event.attributes)
            + _whole(4, event.dropped_attributes),
        )
        for event in one.events
    ]
    out.append(_whole(12, one.dropped_events))
    out += [
        _part(
            13,
            _part(1, link.context.trace_id.to_bytes(16, "big"))
            + _part(2, link.context.span_id.to_bytes(8, "big"))
            + _text(3, _state(link.context))
            + attributes(4, link.attributes)
            + _whole(5, link.dropped_attributes),
        )
        for link in one.links
    ]
    out.append(_whole(14, one.dropped_links))
    status = one.status
    if status.status_code.value or status.description:
        out.append(_part(15, _text(2, status.description or "") + _whole(3, status.status_code.value)))
    remote = 0x300 if parent is not None and parent.is_remote else 0x100
    out.append(_KEYS[16, 5] + _FLAGS(int(context.trace_flags) & 0xFF | remote))
    return b"".join(out)


def _state(context: Any) -> str:
    state = context.trace_state
    return str(state.to_header()) if state else ""


def line(one: Line) -> bytes:
    """A LogRecord."""
    return b"".join(
        (
            _fixed(1, one.time),
            _whole(2, one.severity),
            _text(3, one.severity_text),
            _part(5, value(one.body)),
            attributes(6, one.attributes),
            _KEYS[8, 5] + _FLAGS(one.flags) if one.flags else b"",
            _part(9, one.trace_id.to_bytes(16, "big")) if one.trace_id else b"",
            _part(10, one.span_id.to_bytes(8, "big")) if one.span_id else b"",
            _fixed(11, one.time),
            _text(12, one.event),
        )
    )


def metric(one: Any) -> bytes:
    """A Metric of the SDK's; empty for a kind that is not known."""
    data, points = one.data, list(one.data.data_points)
    head = _text(1, str(one.name)) + _text(2, one.description or "") + _text(3, one.unit or "")
    kind = type(data).__name__
    if kind == "Sum":
        monotonic = _whole(3, int(data.is_monotonic))
        body = b"".join(_part(1, _number(point)) for point in points)
        return head + _part(7, body + _whole(2, int(data.aggregation_temporality)) + monotonic)
    if kind == "Gauge":
        return head + _part(5, b"".join(_part(1, _number(point)) for point in points))
    if kind == "Histogram":
        body = b"".join(_part(1, _histogram(point)) for point in points)
        return head + _part(9, body + _whole(2, int(data.aggregation_temporality)))
    if kind == "ExponentialHistogram":
        body = b"".join(_part(1, _exponential(point)) for point in points)
        return head + _part(10, body + _whole(2, int(data.aggregation_temporality)))
    return b""


def _times(point: Any) -> bytes:
    return _fixed(2, point.start_time_unix_nano or 0) + _fixed(3, point.time_unix_nano)


def _number(point: Any) -> bytes:
    return (
        attributes(7, point.attributes)
        + _times(point)
        + _amount(4, 6, point.value)
        + b"".join(_part(5, _exemplar(one)) for one in point.exemplars)
    )


def _amount(as_double: int, as_int: int, amount: float) -> bytes:
    if isinstance(amount, int) and -(1 << 63) <= amount < 1 << 63:
        return _KEYS[as_int, 1] + _SFIXED(amount)
    return _double(as_double, float(amount))


def _bounds(at_min: int, at_max: int, point: Any) -> bytes:
    if not point.count:
        return b""
    return _double(at_min, point.min) + _double(at_max, point.max)


def _histogram(point: Any) -> bytes:
    return (
        attributes(9, point.attributes)
        + _times(point)
        + _fixed(4, point.count)
        + _double(5, point.sum)
        + _part(6, b"".join(map(_FIXED, point.bucket_counts)))
        + _part(7, b"".join(map(_DOUBLE, point.explicit_bounds)))
        + b"".join(_part(8, _exemplar(one)) for one in point.exemplars)
        + _bounds(11, 12, point)
    )


def _exponential(point: Any) -> bytes:
    return (
        attributes(1, point.attributes)
        + _times(point)
        + _fixed(4, point.count)
        + _double(5, point.sum)
        + _whole(6, _zigzag(point.scale))
        + _fixed(7, point.zero_count)
        + _part(8, _buckets(point.positive))
        + _part(9, _buckets(point.negative))
        + b"".join(_part(11, _exemplar(one)) for one in point.exemplars)
        + _bounds(12, 13, point)
    )


def _buckets(given: Any) -> bytes:
    counts: Iterable[int] = given.bucket_counts
    return _whole(1, _zigzag(given.offset)) + _part(2, b"".join(map(_varint, counts)))


def _exemplar(one: Any) -> bytes:
    return (
        attributes(7, one.filtered_attributes)
        + _fixed(2, one.time_unix_nano)
        + _amount(3, 6, one.value)
        + (_part(4, one.span_id.to_bytes(8, "big")) if one.span_id else b"")
        + (_part(5, one.trace_id.to_bytes(16, "big")) if one.trace_id else b"")
    )
