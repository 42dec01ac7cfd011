"""Prometheus' HTTP API as endpoints of the control API: declared here, answered by the telemetry process."""

from __future__ import annotations

from atoll.server.endpoint import Endpoint, Query
from atoll.server.telemetry import asked

PREFIX = "/prometheus/api/v1"
_QUERY = Query("query", "The expression.")
_START = Query("start", "RFC 3339, or seconds since 1970.")
_END = Query("end", "RFC 3339, or seconds since 1970.")
_MATCH = Query("match[]", "A series selector; repeatable.", repeated=True)
_LIMIT = Query("limit", "Items of the answer at most; 0: all.", "integer")
_TIMES = (
    Query("timeout", "Seconds, or a duration as `10s`."),
    Query("lookback_delta", "How old the newest sample may be; 5m."),
)
_EVALUATED = (_QUERY, *_TIMES, _LIMIT)


def _both(path: str, summary: str, *query: Query, name: str) -> tuple[Endpoint, Endpoint]:
    """GET, and POST with the same parameters as a form."""
    return (
        asked(PREFIX + path, summary, *query, name=name),
        asked(PREFIX + path, f"{summary} The parameters as a form.", name=f"{name}_by_form", method="POST"),
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    *_both(
        "/query",
        "A PromQL expression at one instant, in Prometheus' format.",
        Query("time", "RFC 3339, or seconds since 1970; the default is now."),
        *_EVALUATED,
        name="prometheus_query",
    ),
    *_both(
        "/query_range",
        "A PromQL expression over time, in Prometheus' format.",
        _START,
        _END,
        Query("step", "Seconds, or a duration as `15s`; up to 11,000 steps."),
        *_EVALUATED,
        name="prometheus_query_range",
    ),
    *_both(
        "/query_exemplars", "Exemplars of what an expression reads.", _QUERY, _START, _END, name="prometheus_exemplars"
    ),
    *_both("/format_query", "An expression in its usual layout.", _QUERY, name="prometheus_format_query"),
    *_both("/labels", "Names of labels.", _START, _END, _MATCH, _LIMIT, name="prometheus_labels"),
    asked(
        PREFIX + "/label/{label}/values",
        "Values of a label.",
        _START,
        _END,
        _MATCH,
        _LIMIT,
        name="prometheus_label_values",
    ),
    *_both("/series", "Series by selectors.", _MATCH, _START, _END, _LIMIT, name="prometheus_series"),
    asked(
        PREFIX + "/metadata",
        "Type, unit and help of metrics.",
        Query("metric", "Only of this one."),
        _LIMIT,
        name="prometheus_metadata",
    ),
    asked(PREFIX + "/rules", "Rules by group.", name="prometheus_rules"),
    asked(PREFIX + "/alerts", "Alerts that are active.", name="prometheus_alerts"),
    asked(
        PREFIX + "/status/buildinfo", "What answers, and which Prometheus it speaks like.", name="prometheus_buildinfo"
    ),
)
