"""Everything that the telemetry process answers, as endpoints of the control API: declared here, answered there."""

from __future__ import annotations

import msgspec

from atoll.errors import (
    AtollError,
    BadRequest,
    InvalidValue,
    LimitReached,
    NotFound,
    Overloaded,
    RequestTimeout,
    TelemetryUnavailable,
    TooLarge,
)
from atoll.model.telemetry import Coverage
from atoll.model.trace import TraceComparison, TracePage, TraceView
from atoll.model.traffic import Latency, Red, ServiceMap
from atoll.server.endpoint import Endpoint, Query
from atoll.server.forward import forwarding
from atoll.telemetry.logs import answers

ERRORS: tuple[type[AtollError], ...] = (
    *(BadRequest, InvalidValue, TooLarge, LimitReached, Overloaded, TelemetryUnavailable),
)
"""What any question about telemetry may be refused with."""
SINCE = Query("since", "From then on: seconds since 1970, or ISO 8601.")
UNTIL = Query("until", "Before then; the default is now.")
LOG_FILTERS = (
    Query("service", "Of this service; repeatable.", repeated=True),
    Query("instance", "Of this instance; repeatable.", repeated=True),
    Query("level", "At least this grave: trace, debug, info, warn, error, fatal."),
    Query("grep", "A regular expression that is found in the text."),
    Query("words", "Words that all stand in the text: quick, by the index."),
    Query("trace", "Of this trace."),
    SINCE,
    UNTIL,
    Query("source", "`otlp`, `stdout` or `platform`; repeatable.", repeated=True),
    Query("run", "Of this run of an instance."),
)


def asked(
    path: str,
    summary: str,
    *query: Query,
    name: str,
    answer: type[msgspec.Struct] | None = None,
    method: str = "GET",
    media: str = "application/json",
    errors: tuple[type[AtollError], ...] = (),
) -> Endpoint:
    """An endpoint that is forwarded; `name` is the operation's."""
    return Endpoint(
        method=method,
        path=path,
        summary=summary,
        handler=forwarding(name),
        answer=answer,
        media=media,
        query=query,
        errors=(*ERRORS, *((RequestTimeout,) if method == "POST" else ()), *errors),
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    asked(
        "/api/v1/traces",
        "Traces of which one span meets all conditions: one row each, in pages.",
        Query("service", "Name of the span's service."),
        Query("instance", "Id of its instance."),
        Query("route", "Its route: the service's own, or the gateway's."),
        Query("status", "`error`: the span failed; `ok`: no span of the trace did."),
        Query("http", "Its HTTP status: `503` or `5xx`."),
        Query("min_duration", "Milliseconds that it took at least.", "number"),
        Query("max_duration", "Milliseconds that it took at most.", "number"),
        Query(
            "attribute",
            "`key:value` or `key` of the span; of its resource (`service.…`, `host.…`, or `resource.` in front). Repeatable.",
            repeated=True,
        ),
        Query("text", "Words in its name, message, attributes, events, or in a log record of the trace."),
        SINCE,
        UNTIL,
        Query("order", "`newest` (the default) or `slowest`."),
        Query("limit", "Rows of a page, up to 1000; the default is 20.", "integer"),
        Query("cursor", "The `next` of the page before."),
        name="list_traces",
        answer=TracePage,
    ),
    asked(
        "/api/v1/traces/{trace}",
        "One trace, by its id or the beginning of it: spans in order, critical path, log records.",
        name="get_trace",
        answer=TraceView,
        errors=(NotFound,),
    ),
    asked(
        "/api/v1/traces/{trace}/compare/{other_trace}",
        "Two traces side by side: what the spans of each service and name took, and which only one of them has.",
        name="compare_traces",
        answer=TraceComparison,
        errors=(NotFound,),
    ),
    asked(
        "/api/v1/map",
        "Who calls whom, with rate, errors and durations of each edge.",
        SINCE,
        UNTIL,
        name="get_map",
        answer=ServiceMap,
    ),
    asked(
        "/api/v1/red",
        "Rates, errors and durations by service, route, instance or edge, in steps.",
        Query("by", "`service` (the default), `route`, `instance` or `edge`."),
        Query("service", "Only of this service."),
        Query("route", "Only of this route."),
        Query("instance", "Only of this instance."),
        Query("step", "Seconds of a step, from 10 on; the default makes some sixty.", "number"),
        SINCE,
        UNTIL,
        Query("limit", "Series at most, up to 500; the default is 100.", "integer"),
        name="get_red",
        answer=Red,
    ),
    asked(
        "/api/v1/red/latency",
        "Durations of a service's requests in buckets, with traces of each for examples.",
        Query("service", "Name of the service."),
        Query("route", "Only of this route."),
        SINCE,
        UNTIL,
        name="get_latency",
        answer=Latency,
    ),
    asked(
        "/api/v1/logs",
        "Log records, in pages.",
        *LOG_FILTERS,
        Query("limit", "Records of a page, up to 5000; the default is 100.", "integer"),
        Query("order", "`newest` (the default) or `oldest` first."),
        Query("cursor", "The `cursor` of the page before."),
        name="list_logs",
        answer=answers.Page,
    ),
    asked(
        "/api/v1/logs/tail",
        "New log records as they come: server-sent events (Accept: text/event-stream), or asked again and again.",
        *LOG_FILTERS,
        Query("cursor", "The `cursor` of the answer before; without it a tail begins."),
        Query("wait", "Seconds to wait for a new record, up to 10.", "integer"),
        name="tail_logs",
        answer=answers.Tail,
    ),
    asked(
        "/api/v1/logs/patterns",
        "Similar log records counted together.",
        *LOG_FILTERS,
        Query("limit", "Patterns at most.", "integer"),
        Query("new", "`true`: only those that the last deployment brought."),
        name="log_patterns",
        answer=answers.Patterns,
    ),
    asked(
        "/api/v1/logs/histogram",
        "How many log records of each level over time.",
        *LOG_FILTERS,
        Query("buckets", "Steps of time; the default is 60.", "integer"),
        name="log_histogram",
        answer=answers.Histogram,
    ),
    asked(
        "/api/v1/telemetry/coverage",
        "Which services tell spans, metrics and lines, and which of their libraries have no spans.",
        SINCE,
        UNTIL,
        name="get_coverage",
        answer=Coverage,
    ),
    asked("/api/v1/telemetry/status", "The telemetry process about itself.", name="get_status"),
    asked(
        "/api/v1/telemetry/metrics",
        "Its numbers, in Prometheus' text format.",
        name="get_metrics",
        media="text/plain",
    ),
)
