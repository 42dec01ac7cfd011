"""OTLP's requests and answers, one line a signal: their classes, their names, and where they are sent to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from atoll.telemetry.signal import Signal


@dataclass(frozen=True)
class Words:
    """What a signal's messages are called."""

    request: type[Any]
    response: type[Any]
    resource: type[Any]
    scope: type[Any]
    item: type[Any]
    service: str
    """Of gRPC."""
    levels: tuple[str, str, str]
    """Fields of resources, scopes and items, as JSON has them."""
    rejected: str
    """The field of an answer that counts rejected items."""


WORDS: dict[Signal, Words] = {
    Signal.TRACES: Words(
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
        ResourceSpans,
        ScopeSpans,
        Span,
        "opentelemetry.proto.collector.trace.v1.TraceService",
        ("resourceSpans", "scopeSpans", "spans"),
        "rejected_spans",
    ),
    Signal.LOGS: Words(
        ExportLogsServiceRequest,
        ExportLogsServiceResponse,
        ResourceLogs,
        ScopeLogs,
        LogRecord,
        "opentelemetry.proto.collector.logs.v1.LogsService",
        ("resourceLogs", "scopeLogs", "logRecords"),
        "rejected_log_records",
    ),
    Signal.METRICS: Words(
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
        ResourceMetrics,
        ScopeMetrics,
        Metric,
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        ("resourceMetrics", "scopeMetrics", "metrics"),
        "rejected_data_points",
    ),
}


def response(signal: Signal, rejected: int, reason: str) -> Any:
    """The answer to a request of which `rejected` items were not stored."""
    words = WORDS[signal]
    answer = words.response()
    if rejected:
        setattr(answer.partial_success, words.rejected, rejected)
        answer.partial_success.error_message = reason
    return answer
