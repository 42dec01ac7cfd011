"""Traces as the API shows them. Ids are lower-case hex, moments ISO 8601 in UTC, `…_ms` are milliseconds.

`at_ms` counts from the trace's start, after clocks that disagree were corrected; it is never negative.
"""

from __future__ import annotations

import msgspec


class TraceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One trace in a list, as far as its spans were received."""

    id: str
    start: str
    duration_ms: float
    root: str
    """Name of the span without a parent; else of the earliest one."""
    service: str
    """Of that span."""
    http_status: int = 0
    services: tuple[str, ...] = ()
    spans: int = 0
    errors: int = 0
    """Spans that failed."""


class TracePage(msgspec.Struct, frozen=True, kw_only=True):
    """Traces in the order that was asked for; with `next`, ask again with `cursor` = it."""

    traces: tuple[TraceRow, ...] = ()
    next: str | None = None


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened inside a span."""

    at_ms: float
    name: str
    attributes: dict[str, str] = {}


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """Another span that has to do with this one."""

    trace: str
    span: str


class SpanView(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of the waterfall. They come parents first; `depth` is the indentation."""

    id: str
    parent: str = ""
    depth: int
    name: str = ""
    service: str = ""
    instance: str = ""
    source: str = "otlp"
    """`otlp`: sent by the service; `gateway`, `mesh`: from HAProxy's request log."""
    kind: str = "internal"
    at_ms: float
    duration_ms: float
    self_ms: float = 0.0
    """In which it was open and none of its children was."""
    critical_ms: float = 0.0
    """Of the trace's critical path: what would have to get faster."""
    error: bool = False
    message: str = ""
    route: str = ""
    method: str = ""
    http_status: int = 0
    shift_ms: float = 0.0
    """What was added to its clock; 0: its clock agrees with its parent's."""
    missing: bool = False
    """It was not received: only its children name it."""
    attributes: dict[str, str] = {}
    resource: int | None = None
    """Index into the trace's `resources`."""
    events: tuple[EventView, ...] = ()
    links: tuple[LinkView, ...] = ()


class TraceLog(msgspec.Struct, frozen=True, kw_only=True):
    """A log record of the trace."""

    at_ms: float
    time: str
    level: str = ""
    service: str = ""
    instance: str = ""
    span: str = ""
    text: str = ""
    attributes: dict[str, str] = {}


class TraceView(msgspec.Struct, frozen=True, kw_only=True):
    """A whole trace."""

    id: str
    start: str
    duration_ms: float
    root: str
    service: str
    services: tuple[str, ...]
    span_count: int
    """Received; `spans` shows the first of them when there are too many."""
    cut: int = 0
    """Spans that are not shown."""
    errors: int
    doubles: int = 0
    """Spans that came more than once and are shown once."""
    spans: tuple[SpanView, ...]
    resources: tuple[dict[str, str], ...] = ()
    logs: tuple[TraceLog, ...] = ()
    logs_cut: bool = False
    """There are more log records."""


class SpanSum(msgspec.Struct, frozen=True, kw_only=True):
    """The spans of one service and name in one trace, together."""

    count: int
    errors: int
    duration_ms: float
    """Of all of them, also where one is inside of another."""
    self_ms: float
    critical_ms: float


class ComparedSpans(msgspec.Struct, frozen=True, kw_only=True):
    """The spans of one service and name in two traces; None: the trace has none."""

    service: str
    name: str
    first: SpanSum | None = None
    second: SpanSum | None = None
    change_ms: float
    """Of their own time (`self_ms`), from the first to the second: what sums up to the difference of the work done."""


class TraceComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two traces side by side. `spans`: largest change of own time first."""

    first: TraceRow
    second: TraceRow
    change_ms: float
    """Of the whole duration."""
    spans: tuple[ComparedSpans, ...]
