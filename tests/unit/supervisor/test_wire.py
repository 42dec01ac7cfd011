"""What `beside.wire` writes by hand, read back with OpenTelemetry's own messages."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from atoll.supervisor.beside import wire

RESOURCE = wire.resource({"service.name": "orders", "process.pid": 7})
SCOPE = wire.Scope("scope", "1.2", "https://schema")

plain = st.one_of(st.text(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.binary())
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6
)


def read(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [read(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: read(one.value) for one in value.kvlist_value.values}
    return getattr(value, kind) if kind else None


def text_of(given: Any) -> Any:
    """As it can be sent: half a surrogate pair is no text."""
    if isinstance(given, str):
        return given.encode("utf-8", "replace").decode()
    if isinstance(given, list):
        return [text_of(one) for one in given]
    if isinstance(given, dict):
        return {text_of(key): text_of(one) for key, one in given.items()}
    return given


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), values, max_size=4), st.text())
def test_any_log_record_is_read_back_as_it_was(attributes: dict[str, Any], body: str) -> None:
    line = wire.Line(5, SCOPE, body, 9, "INFO", 2**127 + 1, 2**63 + 1, 1, "happened", attributes)
    request = ExportLogsServiceRequest.FromString(wire.export(RESOURCE, {SCOPE: [wire.line(line)]}))
    part = request.resource_logs[0]
    assert {one.key: read(one.value) for one in part.resource.attributes} == {
        "service.name": "orders",
        "process.pid": 7,
    }
    scoped = part.scope_logs[0]
    assert (scoped.scope.name, scoped.scope.version, scoped.schema_url) == ("scope", "1.2", "https://schema")
    found = scoped.log_records[0]
    assert (found.time_unix_nano, found.severity_number, found.severity_text, found.flags) == (5, 9, "INFO", 1)
    assert (found.trace_id, found.span_id) == ((2**127 + 1).to_bytes(16, "big"), (2**63 + 1).to_bytes(8, "big"))
    assert (found.body.string_value, found.event_name) == (text_of(body), "happened")
    assert {one.key: read(one.value) for one in found.attributes} == text_of(attributes)


def test_odd_values_are_sent_as_far_as_they_can_be() -> None:
    deep: Any = "core"
    for _ in range(50):
        deep = [deep]
    odd = {"huge": 2**80, "nan": math.nan, "none": None, "half": "\ud800", "class": Exception, "deep": deep}
    request = ExportLogsServiceRequest.FromString(
        wire.export(RESOURCE, {SCOPE: [wire.line(wire.Line(0, SCOPE, None, attributes=odd))]})
    )
    found = {one.key: read(one.value) for one in request.resource_logs[0].scope_logs[0].log_records[0].attributes}
    assert found["huge"] == str(2**80)
    assert math.isnan(found["nan"])
    assert found["half"] == "?"
    assert "Exception" in found["class"]


def test_a_span_has_everything_that_the_sdk_knows_of_it() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("scope", "1.2", schema_url="https://schema")
    other = SpanContext(3, 4, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("a", "b")]))
    with (
        tracer.start_as_current_span("outer", kind=SpanKind.SERVER),
        tracer.start_as_current_span(
            "inner",
            kind=SpanKind.CLIENT,
            links=[Link(other, {"why": "retry"})],
            attributes={"n": 1, "list": ["a", "b"]},
        ) as span,
    ):
        span.add_event("happened", {"x": 2.5}, timestamp=77)
        span.set_status(StatusCode.ERROR, "out of paper")
    inner, outer = kept.get_finished_spans()
    body = wire.export(RESOURCE, {wire.scope_of(inner.instrumentation_scope): [wire.span(inner), wire.span(outer)]})
    first, second = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    assert (first.name, first.kind, second.name, second.kind) == ("inner", 3, "outer", 2)
    assert first.trace_id == second.trace_id
    assert first.parent_span_id == second.span_id
    assert second.parent_span_id == b""
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (inner.start_time, inner.end_time)
    assert {one.key: read(one.value) for one in first.attributes} == {"n": 1, "list": ["a", "b"]}
    assert (first.events[0].name, first.events[0].time_unix_nano, read(first.events[0].attributes[0].value)) == (
        "happened",
        77,
        2.5,
    )
    link = first.links[0]
    assert (link.trace_id[-1], link.span_id[-1], link.trace_state, link.attributes[0].key) == (3, 4, "a=b", "why")
    assert (first.status.code, first.status.message) == (2, "out of paper")
    assert first.flags & 1  # sampled; the SDK says that its ids are random, too


@pytest.fixture
def metrics() -> dict[str, Any]:
    """One of each kind, through the SDK and the wire."""
    reader = InMemoryMetricReader()
    view = View(instrument_name="fine", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], resource=Resource({}), views=[view], shutdown_on_exit=False)
    meter = provider.get_meter("scope")
    meter.create_counter("sold", "1", "how many").add(3, {"what": "pen"})
    meter.create_up_down_counter("stock").add(-2.5)
    meter.create_gauge("heat", "Cel").set(-7)
    for seconds in (0.004, 0.2, 30.0):
        meter.create_histogram("took", "s").record(seconds)
        meter.create_histogram("fine", "s").record(seconds)
    data = reader.get_metrics_data()
    assert data is not None
    scope = data.resource_metrics[0].scope_metrics[0]
    bodies = [wire.metric(one) for one in scope.metrics]
    request = ExportMetricsServiceRequest.FromString(wire.export(RESOURCE, {wire.scope_of(scope.scope): bodies}))
    return {one.name: one for one in request.resource_metrics[0].scope_metrics[0].metrics}


def test_sums_and_gauges_keep_their_kind_and_value(metrics: dict[str, Any]) -> None:
    sold = metrics["sold"]
    assert (sold.unit, sold.description, sold.sum.is_monotonic, sold.sum.aggregation_temporality) == (
        "1",
        "how many",
        True,
        2,
    )
    point = sold.sum.data_points[0]
    assert (point.as_int, point.attributes[0].key) == (3, "what")
    assert point.time_unix_nano >= point.start_time_unix_nano > 0
    assert not metrics["stock"].sum.is_monotonic
    assert metrics["stock"].sum.data_points[0].as_double == -2.5
    assert metrics["heat"].gauge.data_points[0].as_int == -7


def test_histograms_of_both_kinds_keep_their_buckets(metrics: dict[str, Any]) -> None:
    point = metrics["took"].histogram.data_points[0]
    assert (point.count, sum(point.bucket_counts), point.min, point.max) == (3, 3, 0.004, 30.0)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert point.sum == pytest.approx(30.204)
    fine = metrics["fine"].exponential_histogram.data_points[0]
    assert (fine.count, sum(fine.positive.bucket_counts), fine.zero_count) == (3, 3, 0)
    base = 2 ** (2**-fine.scale)
    assert base**fine.positive.offset <= 0.004 <= base ** (fine.positive.offset + 1) * 1.0001
