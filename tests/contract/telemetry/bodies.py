"""OTLP bodies for tests, as an exporter would make them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Value = str | bool | int | float | bytes | list[Any] | dict[str, Any] | None


def put(value: Any, content: Value) -> None:
    """Make `content` the value of an AnyValue; None leaves it without one."""
    if isinstance(content, str):
        value.string_value = content
    elif isinstance(content, bool):
        value.bool_value = content
    elif isinstance(content, int):
        value.int_value = content
    elif isinstance(content, float):
        value.double_value = content
    elif isinstance(content, bytes):
        value.bytes_value = content
    elif isinstance(content, list):
        value.array_value.SetInParent()
        for item in content:
            put(value.array_value.values.add(), item)
    elif isinstance(content, dict):
        value.kvlist_value.SetInParent()
        attributes(value.kvlist_value.values, content)


def attributes(holder: Any, content: Mapping[str, Value]) -> None:
    for key, item in content.items():
        pair = holder.add(key=key)
        pair.value.SetInParent()
        put(pair.value, item)


def span(**fields: Any) -> Any:
    """A request with one span of now; `attributes`, `resource` and `scope` are dicts, other fields are the span's."""
    request = ExportTraceServiceRequest()
    add_span(request, **fields)
    return request


def add_span(request: Any, **fields: Any) -> Any:
    now = time.time_ns()
    given: dict[str, Any] = {
        "trace_id": b"t" * 16, "span_id": b"s" * 8, "name": "GET /", "kind": 2, "start_time_unix_nano": now,
        "end_time_unix_nano": now + 1_000_000,
    } | fields  # fmt: skip
    resource = given.pop("resource", {"service.name": "orders"})
    own = given.pop("attributes", {})
    scope = given.pop("scope", {})
    status = given.pop("status", 0)
    holder = request.resource_spans.add()
    attributes(holder.resource.attributes, resource)
    spans = holder.scope_spans.add()
    for name, value in scope.items():
        setattr(spans.scope, name, value)
    made = spans.spans.add(**given)
    made.status.code = status
    attributes(made.attributes, own)
    return made


def record(body: Value, **fields: Any) -> Any:
    """A request with one log record of now."""
    request = ExportLogsServiceRequest()
    given: dict[str, Any] = {"time_unix_nano": time.time_ns(), "severity_number": 9} | fields
    resource = given.pop("resource", {"service.name": "orders"})
    own = given.pop("attributes", {})
    holder = request.resource_logs.add()
    attributes(holder.resource.attributes, resource)
    made = holder.scope_logs.add().log_records.add(**given)
    made.body.SetInParent()
    put(made.body, body)
    attributes(made.attributes, own)
    return request
