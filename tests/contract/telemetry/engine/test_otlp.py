"""OTLP bodies as rows: nothing that was sent is lost or changed, and nothing in a body makes an insert fail."""

from __future__ import annotations

import contextlib
import math
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import BadRequest
from atoll.telemetry import otlp
from atoll.telemetry.engine import Engine
from tests.contract.telemetry.bodies import Value, add_span, attributes, record, span

DAY = 86_400 * 10**9


def stored(engine: Engine, *requests: Any) -> list[dict[str, Any]]:
    """The rows of these requests, as spans."""
    engine.insert(otlp.traces([request.SerializeToString() for request in requests]))
    return engine.rows(
        "SELECT *, toUnixTimestamp64Nano(Timestamp) AS start, hex(TraceId) AS trace, hex(SpanId) AS span, "
        "hex(ParentSpanId) AS parent, arrayMap(x -> hex(x), Links.TraceId) AS links FROM all_spans ORDER BY start, span"
    )


def test_a_span_is_stored_whole(either: Engine) -> None:
    now = time.time_ns()
    request = span(
        trace_id=bytes(range(16)), span_id=b"12345678", parent_span_id=b"abcdefgh", trace_state="a=b", name="POST /orders",
        kind=3, start_time_unix_nano=now, end_time_unix_nano=now + 123_456_789, status=2,
        resource={"service.name": "orders", "service.instance.id": "orders-1"}, scope={"name": "shop", "version": "1.2"},
        attributes={"http.request.method": "POST", "http.route": "/orders", "http.response.status_code": 503},
    )  # fmt: skip
    made = request.resource_spans[0].scope_spans[0].spans[0]
    made.status.message = "no stock"
    event = made.events.add(time_unix_nano=now + 5, name="exception")
    attributes(event.attributes, {"exception.message": "nothing\nleft"})
    link = made.links.add(trace_id=b"L" * 16, span_id=b"l" * 8)
    attributes(link.attributes, {"why": "batch"})
    row = stored(either, request)[0]
    assert {key: row[key] for key in ("start", "trace", "span", "parent", "links", "Duration")} == {
        "start": now, "trace": bytes(range(16)).hex().upper(), "span": b"12345678".hex(), "parent": b"abcdefgh".hex(),
        "links": [(b"L" * 16).hex().upper()], "Duration": 123_456_789,
    }  # fmt: skip
    assert {key: row[key] for key in ("ServiceName", "InstanceId", "Route", "HttpMethod", "HttpStatus", "Source")} == {
        "ServiceName": "orders", "InstanceId": "orders-1", "Route": "/orders", "HttpMethod": "POST", "HttpStatus": 503,
        "Source": "otlp",
    }  # fmt: skip
    assert (row["SpanName"], row["SpanKind"], row["TraceState"]) == ("POST /orders", 3, "a=b")
    assert (row["StatusCode"], row["StatusMessage"]) == (2, "no stock")
    assert (row["ScopeName"], row["ScopeVersion"]) == ("shop", "1.2")
    assert row["ResourceAttributes"] == {"service.name": "orders", "service.instance.id": "orders-1"}
    assert (row["Events.Name"], row["Events.Attributes"]) == (["exception"], [{"exception.message": "nothing\nleft"}])
    assert row["Links.Attributes"] == [{"why": "batch"}]


READABLE: list[tuple[Value, str]] = [
    ("", ""), (0, "0"), (False, "false"), (True, "true"), (-(2**63), str(-(2**63))), (0.5, "0.5"), (math.nan, "nan"),
    (math.inf, "inf"), (-0.0, "-0"), (b"\x00\xff", "00ff"), (None, ""), ([], "[]"), ({}, "{}"),
    (['a"\n', 1, True, 0.5, None, b"\x01"], '["a\\"\\n",1,true,0.5,null,"01"]'),
    ({'k"': "v", "n": {"deep": [1]}}, '{"k\\"":"v","n":{"deep":"protobuf:0a021801"}}'),
    ([[1, 2], ["x"]], '[[1,2],["x"]]'),
]  # fmt: skip


def test_a_value_of_an_attribute_is_readable_text(engine: Engine) -> None:
    rows = stored(engine, *(span(name=f"of {value!r}", attributes={"key": value}) for value, _ in READABLE))
    assert {row["SpanName"]: row["SpanAttributes"] for row in rows} == {
        f"of {value!r}": {"key": text} for value, text in READABLE
    }


def test_a_body_of_a_log_record_may_be_a_map(engine: Engine) -> None:
    engine.insert(otlp.logs([record({"event": "paid", "items": [1, 2]}, event_name="order.paid").SerializeToString()]))
    row = engine.rows("SELECT Body, LogAttributes, ServiceName FROM logs")[0]
    assert row == {
        "Body": '{"event":"paid","items":[1,2]}', "LogAttributes": {"event.name": "order.paid"}, "ServiceName": "orders",
    }  # fmt: skip


def test_old_names_of_http_attributes_are_known(engine: Engine) -> None:
    row = stored(engine, span(attributes={"http.method": "GET", "http.status_code": 404}))[0]
    assert (row["HttpMethod"], row["HttpStatus"]) == ("GET", 404)
    row = stored(engine, span(span_id=b"z" * 8, attributes={"http.status_code": "many"}))[-1]
    assert row["HttpStatus"] == 0


def test_a_time_far_away_becomes_the_time_of_arrival(engine: Engine) -> None:
    now = time.time_ns()
    far, near = (0, 1, 2**63, 2**64 - 1), (now - 2 * DAY, now + DAY // 2)
    bodies = [span(name=str(at), start_time_unix_nano=at, end_time_unix_nano=at, attributes={}) for at in far + near]
    engine.insert(otlp.traces([body.SerializeToString() for body in bodies]))
    arrived = time.time_ns()
    found = engine.rows("SELECT SpanName AS name, toUnixTimestamp64Nano(Timestamp) AS start, Duration FROM spans")
    starts = {int(row["name"]): row["start"] for row in found}
    assert {at: starts[at] for at in near} == {at: at for at in near}
    assert all(now - 10**9 <= starts[at] <= arrived + 10**9 for at in far), starts
    assert [row["Duration"] for row in found] == [0] * 6


def test_an_end_before_the_start_is_no_duration(engine: Engine) -> None:
    now = time.time_ns()
    assert stored(engine, span(start_time_unix_nano=now, end_time_unix_nano=now - 1))[0]["Duration"] == 0


def test_an_id_of_a_wrong_length_is_cut_or_filled(engine: Engine) -> None:
    lengths = (0, 1, 8, 15, 17, 100_000)
    bodies = [
        span(name=str(length), trace_id=b"\xaa" * length, span_id=b"\xbb" * length, parent_span_id=b"\xcc" * length)
        for length in lengths
    ]
    assert {int(row["SpanName"]): (row["trace"], row["span"]) for row in stored(engine, *bodies)} == {
        length: (("AA" * min(length, 16)).ljust(32, "0"), ("BB" * min(length, 8)).ljust(16, "0")) for length in lengths
    }


def test_numbers_outside_of_their_words_are_unspecified(engine: Engine) -> None:
    # Enumerations of a later version, as raw fields: kind = 77, status { code: -1 }.
    raw = nested(b"later", 5) + b"\x30\x4d" + nested(b"\x18" + b"\xff" * 9 + b"\x01", 15)
    engine.insert(otlp.traces([alone(raw)]))
    assert engine.rows("SELECT SpanName, SpanKind, StatusCode FROM spans") == [
        {"SpanName": "later", "SpanKind": 0, "StatusCode": 0}
    ]


def nested(content: bytes, field: int) -> bytes:
    """A protobuf field with a length."""
    return bytes([field << 3 | 2]) + otlp.varint(len(content)) + content


def alone(raw: bytes) -> bytes:
    """A request with this span only."""
    return nested(nested(nested(raw, 2), 2), 1)


def test_spans_of_asgi_messages_are_left_out(engine: Engine) -> None:
    request = span(name="GET / http send", kind=1)
    add_span(request, name="GET / http receive", kind=1)
    add_span(request, name="GET / http send", kind=2)
    assert [row["SpanKind"] for row in stored(engine, request)] == [2]


def test_a_service_without_a_name_is_unknown(engine: Engine) -> None:
    assert stored(engine, span(resource={}))[0]["ServiceName"] == "unknown_service"


def test_invalid_utf8_is_stored_and_shown_as_replaced(engine: Engine) -> None:
    body = span(name="XXXX", attributes={"key": "YYYY"}).SerializeToString()
    engine.insert(otlp.traces([body.replace(b"XXXX", b"\xff\xfe\x00z").replace(b"YYYY", b"\xc3\x28\xa0\xa1")]))
    row = engine.rows("SELECT SpanName, hex(SpanName) AS raw, SpanAttributes FROM spans")[0]
    assert (row["raw"], row["SpanName"]) == ("FFFE007A", "\ufffd\0z")


def test_ten_thousand_attributes_and_a_value_of_a_megabyte_are_taken(engine: Engine) -> None:
    many = {f"key-{number}": number for number in range(10_000)}
    rows = stored(engine, span(attributes=many), span(span_id=b"x" * 8, attributes={"big": "x" * (1 << 20)}))
    assert sorted(max(map(len, row["SpanAttributes"].values())) for row in rows) == [4, 1 << 20]
    assert max(len(row["SpanAttributes"]) for row in rows) == 10_000


def test_bodies_of_many_days_are_taken(engine: Engine) -> None:
    request = span()
    now = time.time_ns()
    for back in range(0, 4000, 10):
        add_span(request, start_time_unix_nano=now - back * DAY, end_time_unix_nano=now)
    engine.insert(otlp.traces([request.SerializeToString()]))
    days = engine.rows("SELECT uniqExact(toDate(Timestamp)) AS n, count() AS spans FROM spans")[0]
    assert days["spans"] <= 401, "some may be deleted for their age already"
    assert days["n"] <= 12


def test_what_is_nested_three_thousand_deep_does_not_harm(engine: Engine) -> None:
    value = b""
    for _ in range(3000):
        value = nested(nested(value, 1), 5)
    raw = nested(b"deep", 5) + nested(nested(b"k", 1) + nested(value, 2), 9)
    engine.insert(otlp.traces([alone(raw), span().SerializeToString()]))
    assert engine.rows("SELECT count() AS n FROM spans") == [{"n": 2}]


SEED = span(
    attributes={"s": "text", "i": 7, "d": 0.5, "b": True, "l": ["a", 1], "m": {"k": "v"}, "raw": b"\0\xff"}, status=2
)
SEED.resource_spans[0].scope_spans[0].spans[0].events.add(name="e", time_unix_nano=5)
SEED.resource_spans[0].scope_spans[0].spans[0].links.add(trace_id=b"x" * 16)
BODY = SEED.SerializeToString()


def mutated(seed: int, changes: int) -> bytes:
    chance = random.Random(seed)
    body = bytearray(BODY)
    for _ in range(changes):
        at = chance.randrange(len(body))
        match chance.randrange(4):
            case 0:
                body[at] ^= 1 << chance.randrange(8)
            case 1:
                body[at] = chance.randrange(256)
            case 2:
                del body[at : at + chance.randrange(1, 9)]
            case _:
                body[at:at] = chance.randbytes(chance.randrange(1, 9))
        body = body or bytearray(b"\0")
    return bytes(body)


def taken_or_refused(engine: Engine, body: bytes) -> None:
    good = span(name="good").SerializeToString()
    before = engine.rows("SELECT count() AS n FROM spans")[0]["n"]
    try:
        engine.insert(otlp.traces([body, good]))
    except BadRequest:
        assert engine.rows("SELECT count() AS n FROM spans")[0]["n"] == before, "nothing of a refused insert is stored"
        engine.insert(otlp.traces([good]))
    assert engine.rows("SELECT count() AS n FROM spans")[0]["n"] > before


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 12))
def test_a_mutated_body_is_taken_or_refused_and_its_neighbour_is_never_harmed_by_it(
    embedded: Engine, seed: int, changes: int
) -> None:
    taken_or_refused(embedded, mutated(seed, changes))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_four_hundred_mutated_bodies_are_taken_or_refused(engine: Engine) -> None:
    for seed in range(400):
        taken_or_refused(engine, mutated(seed, 1 + seed % 12))


@settings(max_examples=20)
@given(noise=st.binary(max_size=200))
def test_noise_is_taken_or_refused_for_logs_too(embedded: Engine, noise: bytes) -> None:
    with contextlib.suppress(BadRequest):
        embedded.insert(otlp.logs([noise]))
    assert embedded.rows("SELECT 1 AS x") == [{"x": 1}]
