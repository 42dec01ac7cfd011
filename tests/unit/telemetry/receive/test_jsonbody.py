"""OTLP's JSON becomes its protobuf: the specification's own examples, its deviations, and nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from atoll.errors import AtollError, BadRequest
from atoll.telemetry.receive.jsonbody import protobuf
from atoll.telemetry.signal import Signal

RESOURCE = {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]}
SCOPE = {
    "name": "my.scope",
    "version": "1.0.0",
    "attributes": [{"key": "my.scope.attribute", "value": {"stringValue": "some scope attribute"}}],
}
SPAN = {
    "traceId": "5B8EFFF798038103D269B633813FC60C",
    "spanId": "EEE19B7EC3C1B174",
    "parentSpanId": "EEE19B7EC3C1B173",
    "name": "I'm a server span",
    "startTimeUnixNano": "1544712660000000000",
    "endTimeUnixNano": "1544712661000000000",
    "kind": 2,
    "attributes": [{"key": "my.span.attr", "value": {"stringValue": "some value"}}],
}
TRACES = {"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [{"scope": SCOPE, "spans": [SPAN]}]}]}
"""As in opentelemetry-proto's examples/trace.json."""
RECORD = {
    "timeUnixNano": "1544712660300000000",
    "observedTimeUnixNano": "1544712660300000000",
    "severityNumber": 10,
    "severityText": "Information",
    "traceId": "5B8EFFF798038103D269B633813FC60C",
    "spanId": "EEE19B7EC3C1B174",
    "body": {"stringValue": "Example log record"},
    "attributes": [
        {"key": "string.attribute", "value": {"stringValue": "some string"}},
        {"key": "boolean.attribute", "value": {"boolValue": True}},
        {"key": "int.attribute", "value": {"intValue": "10"}},
        {"key": "double.attribute", "value": {"doubleValue": 637.704}},
        {"key": "array.attribute", "value": {"arrayValue": {"values": [{"stringValue": "many"}]}}},
        {
            "key": "map.attribute",
            "value": {"kvlistValue": {"values": [{"key": "some.map.key", "value": {"stringValue": "some value"}}]}},
        },
    ],
}
LOGS = {"resourceLogs": [{"resource": RESOURCE, "scopeLogs": [{"scope": SCOPE, "logRecords": [RECORD]}]}]}
"""As in examples/logs.json."""
POINT = {
    "asDouble": 5,
    "startTimeUnixNano": "1544712660300000000",
    "timeUnixNano": "1544712660300000000",
    "exemplars": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "asDouble": 1}],
}
METRICS = {
    "resourceMetrics": [
        {
            "resource": RESOURCE,
            "scopeMetrics": [
                {
                    "scope": SCOPE,
                    "metrics": [
                        {
                            "name": "my.counter",
                            "unit": "1",
                            "sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [POINT]},
                        }
                    ],
                }
            ],
        }
    ]
}


def read(signal: Signal, told: Any) -> tuple[bytes, dict[str, int]]:
    body, rejected = protobuf(signal, json.dumps(told).encode())
    return body, dict(rejected)


def spans(*members: Any) -> Any:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(members)}]}]}


def test_the_specification_s_trace_is_read() -> None:
    body, rejected = read(Signal.TRACES, TRACES)
    assert rejected == {}
    request = ExportTraceServiceRequest.FromString(body)
    holder = request.resource_spans[0]
    span = holder.scope_spans[0].spans[0]
    assert holder.resource.attributes[0].value.string_value == "my.service"
    assert holder.scope_spans[0].scope.version == "1.0.0"
    assert span.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert (span.span_id.hex(), span.parent_span_id.hex()) == ("eee19b7ec3c1b174", "eee19b7ec3c1b173")
    assert (span.kind, span.start_time_unix_nano) == (2, 1544712660000000000)


def test_the_specification_s_log_is_read_with_every_kind_of_value() -> None:
    body, rejected = read(Signal.LOGS, LOGS)
    record = ExportLogsServiceRequest.FromString(body).resource_logs[0].scope_logs[0].log_records[0]
    kinds = [one.value.WhichOneof("value") for one in record.attributes]
    assert rejected == {}
    assert kinds == ["string_value", "bool_value", "int_value", "double_value", "array_value", "kvlist_value"]
    assert record.attributes[2].value.int_value == 10
    assert (record.severity_number, record.trace_id.hex()) == (10, "5b8efff798038103d269b633813fc60c")


def test_ids_in_exemplars_and_links_are_hex_too() -> None:
    body, _ = read(Signal.METRICS, METRICS)
    metric = ExportMetricsServiceRequest.FromString(body).resource_metrics[0].scope_metrics[0].metrics[0]
    assert metric.sum.data_points[0].exemplars[0].span_id.hex() == "eee19b7ec3c1b174"
    link = {"traceId": SPAN["traceId"], "spanId": SPAN["spanId"]}
    body, _ = read(Signal.TRACES, spans({**SPAN, "links": [link]}))
    span = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0]
    assert span.links[0].trace_id == span.trace_id


def test_names_of_enums_numbers_as_text_snake_case_and_unknown_fields_are_taken() -> None:
    told = {
        "resource_spans": [
            {"scope_spans": [{"spans": [{**SPAN, "kind": "SPAN_KIND_CLIENT", "newField": {"a": 1}}], "later": 1}]}
        ],
        "other": [],
    }
    body, rejected = read(Signal.TRACES, told)
    span = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0]
    assert (rejected, span.kind) == ({}, 3)


@pytest.mark.parametrize(
    "bad",
    [
        {**SPAN, "traceId": "not hex"},
        {**SPAN, "traceId": 7},
        {**SPAN, "startTimeUnixNano": "soon"},
        {**SPAN, "startTimeUnixNano": -1},
        {**SPAN, "startTimeUnixNano": 2**64},
        {**SPAN, "kind": "SPAN_KIND_WRONG", "name": 5},
        {**SPAN, "attributes": [{"key": "a", "value": {"stringValue": "a", "intValue": "1"}}]},
        {**SPAN, "attributes": {"a": "b"}},
        {**SPAN, "links": [{"traceId": "xyz"}]},
        "a string",
        None,
        [],
    ],
)
def test_one_item_that_cannot_be_read_is_rejected_alone(bad: Any) -> None:
    body, rejected = read(Signal.TRACES, spans(SPAN, bad, SPAN))
    assert rejected == {"malformed": 1}
    assert len(ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans) == 2


def test_a_resource_that_cannot_be_read_takes_its_items_with_it() -> None:
    broken = {"resource": {"attributes": "none"}, "scopeSpans": [{"spans": [SPAN, SPAN]}, {"spans": [SPAN]}]}
    body, rejected = read(Signal.TRACES, {"resourceSpans": [broken, *TRACES["resourceSpans"]]})
    assert rejected == {"resource malformed": 3}
    assert len(ExportTraceServiceRequest.FromString(body).resource_spans) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b'"text"',
        b"1e999",
        b'{"resourceSpans": NaN}',
        b'{"resourceSpans": {}}',
        b'{"resourceSpans": [7]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": {}}]}]}',
        b'\xff{"resourceSpans": []}',
        b'{"resourceSpans": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 200_000,
        b'{"resourceSpans":' * 100_000,
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        protobuf(Signal.TRACES, body)


@pytest.mark.parametrize("told", [{}, {"resourceSpans": []}, {"resourceSpans": None}, spans(), {"unknown": 1}])
def test_an_empty_request_is_one(told: Any) -> None:
    _, rejected = read(Signal.TRACES, told)
    assert rejected == {}


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["resourceSpans", "scopeSpans", "spans", "resource", "attributes", "traceId", "links", "x"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_or_refused(told: Any) -> None:
    try:
        body, _ = read(Signal.TRACES, told)
    except AtollError:
        return
    ExportTraceServiceRequest.FromString(body)
