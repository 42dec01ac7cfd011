"""What of a body can be stored: item by item, and whatever bytes somebody sends."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from atoll.errors import AtollError, BadRequest, TooLarge
from atoll.telemetry.limits import ITEM_BYTES, ITEM_PARTS, ITEMS
from atoll.telemetry.receive import wire
from atoll.telemetry.receive.check import check, why
from atoll.telemetry.signal import Signal
from tests.unit.telemetry.receive import bodies

RNG = random.Random(20261121)
GOOD = bodies.span(RNG)


def checked(*spans: Span) -> tuple[list[bytes], Counter[str]]:
    """Ids of the spans that are left, and what was rejected."""
    found = check(Signal.TRACES, bodies.traces(*spans).SerializeToString())
    left = ExportTraceServiceRequest.FromString(found.body)
    ids = [one.span_id for holder in left.resource_spans for scope in holder.scope_spans for one in scope.spans]
    assert len(ids) == found.accepted
    return ids, found.rejected


def test_a_good_body_is_kept_as_it_came() -> None:
    body = bodies.traces(*[bodies.span(RNG) for _ in range(50)]).SerializeToString()
    found = check(Signal.TRACES, body)
    assert found.body is body
    assert (found.accepted, found.rejected) == (50, Counter())


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (bodies.span(RNG, trace_id=bytes(16)), "trace id"),
        (bodies.span(RNG, trace_id=b"short"), "trace id"),
        (bodies.span(RNG, trace_id=bytes(range(17))), "trace id"),
        (Span(trace_id=b"t" * 16, span_id=bytes(8)), "span id"),
        (Span(trace_id=b"t" * 16, span_id=b"s"), "span id"),
        (bodies.span(RNG, name="x" * (ITEM_BYTES + 1)), "too large"),
        (bodies.span(RNG, attributes=ITEM_PARTS + 1), "too many attributes, events or links"),
        (
            Span(trace_id=b"t" * 16, span_id=b"s" * 8, events=[Span.Event(name="e")] * (ITEM_PARTS + 1)),
            "too many attributes, events or links",
        ),
    ],
)
def test_a_bad_span_is_left_out_and_the_others_are_kept(bad: Span, reason: str) -> None:
    ids, rejected = checked(GOOD, bad, GOOD)
    assert ids == [GOOD.span_id, GOOD.span_id]
    assert rejected == {reason: 1}


def test_invalid_utf_8_costs_the_span_that_has_it() -> None:
    body = bodies.traces(GOOD, bodies.span(RNG, name="NAME"), GOOD).SerializeToString()
    found = check(Signal.TRACES, body.replace(b"NAME", b"N\xff\xfeE"))
    assert (found.accepted, found.rejected) == (2, {"malformed": 1})
    ExportTraceServiceRequest.FromString(found.body)


def test_a_value_nested_thousands_deep_costs_the_span_that_has_it() -> None:
    content = b""
    for _ in range(3000):  # AnyValue: array_value { values: … }
        content = wire.field(5, wire.field(1, content))
    deep = wire.field(9, wire.field(1, b"deep") + wire.field(2, content))
    good = GOOD.SerializeToString()
    scope = wire.field(2, good) + wire.field(2, good + deep)
    found = check(Signal.TRACES, wire.field(1, wire.field(2, scope)))
    assert (found.accepted, found.rejected) == (1, {"malformed": 1})


def test_a_damaged_resource_takes_its_spans_with_it_and_no_others() -> None:
    body = bodies.traces(GOOD, GOOD, service="BROKEN").SerializeToString().replace(b"BROKEN", b"BR\xffKEN")
    body += bodies.traces(GOOD, service="well").SerializeToString()
    found = check(Signal.TRACES, body)
    assert (found.accepted, found.rejected) == (1, {"resource malformed": 2})
    left = ExportTraceServiceRequest.FromString(found.body)
    assert [one.resource.attributes[0].value.string_value for one in left.resource_spans] == ["well"]


def test_a_damaged_scope_that_stands_behind_its_spans_takes_them_with_it() -> None:
    good = wire.field(2, GOOD.SerializeToString())
    found = check(Signal.TRACES, wire.field(1, wire.field(2, good + good + wire.field(1, b"\x0a\xff"))))
    assert (found.accepted, found.rejected) == (0, {"scope malformed": 2})
    assert ExportTraceServiceRequest.FromString(found.body) == ExportTraceServiceRequest()


def test_a_record_without_ids_is_good_and_one_with_an_id_of_wrong_length_too() -> None:
    first, second = bodies.record(RNG), bodies.record(RNG)
    first.ClearField("trace_id")
    second.trace_id = b"short"
    body = bodies.logs(first, second).SerializeToString()
    found = check(Signal.LOGS, body)
    assert (found.body, found.accepted) == (body, 2)


def test_a_record_that_is_too_large_is_left_out() -> None:
    body = bodies.logs(bodies.record(RNG), bodies.record(RNG, body="x" * ITEM_BYTES)).SerializeToString()
    found = check(Signal.LOGS, body)
    assert (found.accepted, found.rejected) == (1, {"too large": 1})
    assert len(ExportLogsServiceRequest.FromString(found.body).resource_logs[0].scope_logs[0].log_records) == 1


def test_unknown_fields_are_kept() -> None:
    strange = wire.field(77, b"from the future")
    body = bodies.traces(GOOD).SerializeToString() + strange
    assert check(Signal.TRACES, body).body == body


@pytest.mark.parametrize(
    "body",
    [
        wire.field(1, wire.field(2, b"\x12\x00" * (ITEMS + 1))),
        wire.field(1, b"\x12\x00" * (ITEMS + 1)),
        b"\x0a\x00" * (ITEMS + 1),
        wire.field(1, wire.field(2, b"\x10\x01" * (ITEMS + 1))),
    ],
    ids=["spans", "scopes", "resources", "unknown fields"],
)
def test_more_parts_than_any_sender_needs_are_refused_before_they_take_memory(body: bytes) -> None:
    with pytest.raises(TooLarge):
        check(Signal.TRACES, body)


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\x05ab",
        b"\x08\x01"[:1],
        b"\x0b\x0c",
        b"\x00\x00",
        wire.field(1, b"\x12\x7f"),
        wire.field(1, wire.field(2, b"\x12\x7f")),
        b"\x08\x01" + b"\x09short",
        b"\x0d\x01",
    ],
)
def test_what_is_no_protobuf_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        check(Signal.TRACES, body)


@given(st.binary(max_size=400), st.sampled_from(list(Signal)))
def test_any_bytes_are_refused_or_counted(body: bytes, signal: Signal) -> None:
    try:
        found = check(signal, body)
    except AtollError:
        return
    assert found.accepted >= 0
    again = check(signal, found.body)
    assert (again.accepted, again.rejected.total()) == (found.accepted, 0)


VALUES = st.recursive(
    st.one_of(
        st.builds(AnyValue, string_value=st.text(max_size=20)),
        st.builds(AnyValue, double_value=st.floats()),
        st.builds(AnyValue, bytes_value=st.binary(max_size=20)),
        st.just(AnyValue()),
    ),
    lambda inner: st.builds(
        lambda values: AnyValue(array_value=ArrayValue(values=values)), st.lists(inner, max_size=3)
    ),
    max_leaves=5,
)
SPANS = st.builds(
    Span,
    trace_id=st.sampled_from([bytes(16), b"t" * 16, b"", b"x" * 20]),
    span_id=st.sampled_from([bytes(8), b"s" * 8, b""]),
    name=st.text(max_size=30),
    start_time_unix_nano=st.integers(0, 2**64 - 1),
    end_time_unix_nano=st.integers(0, 2**64 - 1),
    attributes=st.lists(st.builds(KeyValue, key=st.text(max_size=9), value=VALUES), max_size=4),
)


@given(st.lists(SPANS, max_size=8), st.integers(0, 2**31), st.booleans())
def test_accepted_and_rejected_are_what_was_sent_also_when_a_byte_is_wrong(
    spans: list[Span], place: int, damage: bool
) -> None:
    body = bytearray(bodies.traces(*spans).SerializeToString())
    if damage:
        body[place % len(body)] ^= 1 << place % 8
    try:
        found = check(Signal.TRACES, bytes(body))
    except BadRequest:
        assert damage
        return
    if not damage:
        assert found.accepted + found.rejected.total() == len(spans)
        assert found.accepted == sum(one.trace_id == b"t" * 16 and one.span_id == b"s" * 8 for one in spans)
    ExportTraceServiceRequest.FromString(found.body)


def test_the_reasons_are_told_most_frequent_first() -> None:
    assert why(Counter({"span id": 1, "trace id": 7})) == "7: trace id, 1: span id"
