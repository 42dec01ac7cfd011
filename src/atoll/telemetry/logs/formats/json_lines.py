"""Lines that are one JSON object: structlog, python-json-logger, pino, bunyan, zap, zerolog, logback (logstash), ECS,
Google's. The message becomes the body, the rest attributes; a stack trace goes under the message, as in a text log.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from atoll.telemetry.logs.ids import span_id, trace_id
from atoll.telemetry.logs.levels import name_of, severity_of, severity_of_number
from atoll.telemetry.logs.record import SCOPE_LIMIT, TIME, Attributes, Parsed, as_text

MESSAGES = ("message", "msg", "event", "short_message", "@message", "@m", "body", "log", "text")
LEVELS = (
    "level",
    "severity",
    "levelname",
    "log.level",
    "lvl",
    "severity_text",
    "level_name",
    "loglevel",
    "logLevel",
    "severityText",
    "@l",
    "levelno",
    "severity_number",
)
TIMES = ("time", "timestamp", "ts", "@timestamp", "asctime", "datetime", "t", "@t", "date")
SCOPES = ("logger", "logger_name", "loggerName", "log.logger", "name", "module", "component")
TRACES = (
    "trace_id",
    "traceId",
    "trace.id",
    "otelTraceID",
    "traceid",
    "TraceId",
    "traceID",
    "dd.trace_id",
    "logging.googleapis.com/trace",
)
SPANS = (
    "span_id",
    "spanId",
    "span.id",
    "otelSpanID",
    "spanid",
    "SpanId",
    "spanID",
    "dd.span_id",
    "logging.googleapis.com/spanId",
)
STACKS = (
    "exception",
    "exc_info",
    "stack_trace",
    "stacktrace",
    "stack",
    "error.stack_trace",
    "err.stack",
    "error.stack",
)
NESTED = {
    "log": ("level", "logger"),
    "trace": ("id",),
    "span": ("id",),
    "error": ("stack_trace", "stack"),
    "err": ("stack",),
    "dd": ("trace_id", "span_id"),
}
"""Objects of which some members are looked at as if they were written with a dot."""
STACK_LIMIT = 32 << 10
"""Characters of a stack trace."""
_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_decode = msgspec.json.Decoder().decode


def parse(text: str) -> Parsed | None:
    """The line, when it is a JSON object."""
    try:
        found = _decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not found:
        return None
    return of_fields(found, text)


def of_fields(found: dict[str, Any], text: str) -> Parsed:
    """What named values say; `text` is the body when none of them is a message. Takes `found` apart."""
    for outer, names in NESTED.items():
        inner = found.get(outer)
        if isinstance(inner, dict):
            for name in names:
                if name in inner:
                    found.setdefault(f"{outer}.{name}", inner.pop(name))
            if not inner:
                del found[outer]
    body = _message(found)
    severity, level = _level(found)
    trace, span = _ids(found)
    scope = _first_text(found, SCOPES)
    attributes = Attributes()
    for key in TIMES:
        if key in found:
            attributes.add(TIME, found.pop(key))
            break
    if body is None:
        body = text
    stack = next((key for key in STACKS if isinstance(found.get(key), str) and "\n" in found[key]), None)
    if stack is not None:
        body = f"{body}\n{found.pop(stack)[:STACK_LIMIT].rstrip()}"
    for key, value in found.items():
        attributes.add(key, value)
    return Parsed(body, severity, level, scope[:SCOPE_LIMIT], trace, span, attributes.done() or None)


def _message(found: dict[str, Any]) -> str | None:
    for key in MESSAGES:
        value = found.get(key)
        if value is not None and not (key == "log" and isinstance(value, dict)):
            return as_text(found.pop(key))
    return None


def _level(found: dict[str, Any]) -> tuple[int, str]:
    for key in LEVELS:
        value = found.get(key)
        if isinstance(value, str):
            severity = severity_of(value)
            word = value.strip().upper()
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            severity = severity_of_number(value, key)
            word = name_of(severity)
        else:
            continue
        if severity:
            del found[key]
            return severity, word
    return 0, ""


def _ids(found: dict[str, Any]) -> tuple[str, str]:
    trace = span = ""
    for key in TRACES:
        value = found.get(key)
        if isinstance(value, str) and (trace := trace_id(value.rpartition("/")[2])):
            del found[key]
            break
    for key in SPANS:
        if key in found and (span := span_id(found[key])):
            del found[key]
            break
    if not trace and isinstance(parent := found.get("traceparent"), str) and (match := _PARENT.fullmatch(parent)):
        trace, span = trace_id(match[1]), span_id(match[2])
    return trace, span


def _first_text(found: dict[str, Any], keys: tuple[str, ...]) -> str:
    for key in keys:
        value = found.get(key)
        if isinstance(value, str) and len(value) <= SCOPE_LIMIT:
            del found[key]
            return value
    return ""
