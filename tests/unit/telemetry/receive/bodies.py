"""OTLP requests for tests, as a service's SDK makes them."""

from __future__ import annotations

import random
import time

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def resource(service: str = "orders", instance: str = "orders-1") -> Resource:
    return Resource(attributes=[text("service.name", service), text("service.instance.id", instance)])


def span(rng: random.Random, *, name: str = "GET /orders", trace_id: bytes | None = None, attributes: int = 8) -> Span:
    start = time.time_ns() - rng.randrange(10**9)
    return Span(
        trace_id=rng.randbytes(16) if trace_id is None else trace_id,
        span_id=rng.randbytes(8),
        parent_span_id=rng.randbytes(8),
        name=name,
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=start,
        end_time_unix_nano=start + rng.randrange(10**8),
        attributes=[text(f"attribute.{number}", f"value {rng.randrange(1000)}") for number in range(attributes)],
    )


def traces(*spans: Span, service: str = "orders") -> ExportTraceServiceRequest:
    """One resource and one scope with these spans."""
    request = ExportTraceServiceRequest()
    holder = request.resource_spans.add(resource=resource(service))
    scope = holder.scope_spans.add()
    scope.scope.name = "tests"
    scope.spans.extend(spans)
    return request


def record(rng: random.Random, *, body: str = "order taken", attributes: int = 4) -> LogRecord:
    return LogRecord(
        time_unix_nano=time.time_ns(),
        severity_number=9,  # type: ignore[arg-type]
        severity_text="INFO",
        body=AnyValue(string_value=body),
        trace_id=rng.randbytes(16),
        span_id=rng.randbytes(8),
        attributes=[text(f"attribute.{number}", f"value {rng.randrange(1000)}") for number in range(attributes)],
    )


def logs(*records: LogRecord, service: str = "orders") -> ExportLogsServiceRequest:
    """One resource and one scope with these records."""
    request = ExportLogsServiceRequest()
    holder = request.resource_logs.add(resource=resource(service))
    scope = holder.scope_logs.add()
    scope.scope.name = "tests"
    scope.log_records.extend(records)
    return request
