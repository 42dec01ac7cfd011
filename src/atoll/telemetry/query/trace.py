"""One trace out of the engine: its spans and its log records, by its id or a beginning of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from atoll.errors import InvalidValue, NotFound
from atoll.kit.text import scrub
from atoll.model.trace import TraceView
from atoll.telemetry.logs.answers import LogRecord
from atoll.telemetry.logs.reading import page_of
from atoll.telemetry.logs.search import Search
from atoll.telemetry.query.app import Queries
from atoll.telemetry.query.parameters import NANO
from atoll.telemetry.query.search import FAILED
from atoll.telemetry.query.span import LONGEST, Event, Span
from atoll.telemetry.query.waterfall import Record, iso, lay_out

SPANS = 10_000
"""Spans of one trace that are shown; the first ones, when there are more."""
RECORDS = 2_000
"""Log records of one trace that are shown."""
LEAST_DIGITS = 4
"""Hex digits that a beginning of an id must have."""
CANDIDATES = 5
AROUND = 3600 * NANO
"""Nanoseconds around a trace's spans in which its log records are looked for."""
_ID = re.compile(r"[0-9a-f]{4,32}")

_WHICH = """
SELECT lower(hex(TraceId)) AS id, toUnixTimestamp64Nano(max(Timestamp)) AS last
FROM all_spans WHERE TraceId >= toFixedString(unhex({low:String}), 16) AND TraceId <= toFixedString(unhex({high:String}), 16)
GROUP BY TraceId ORDER BY last DESC LIMIT {count:UInt32}"""
_SPANS = f"""
SELECT
    lower(hex(SpanId)) AS id, lower(hex(ParentSpanId)) AS parent, SpanName AS name, ServiceName AS service,
    InstanceId AS instance, toString(Source) AS source, SpanKind AS kind, toUnixTimestamp64Nano(Timestamp) AS start,
    Duration AS duration, {FAILED} AS error, StatusMessage AS message, Route AS route, HttpMethod AS method,
    HttpStatus AS http_status, SpanAttributes AS attributes, ResourceAttributes AS resource,
    arrayMap(at -> toUnixTimestamp64Nano(at), `Events.Timestamp`) AS event_times, `Events.Name` AS event_names,
    `Events.Attributes` AS event_attributes, arrayMap(one -> lower(hex(one)), `Links.TraceId`) AS link_traces,
    arrayMap(one -> lower(hex(one)), `Links.SpanId`) AS link_spans
FROM all_spans WHERE TraceId = toFixedString(unhex({{id:String}}), 16)
ORDER BY Timestamp LIMIT {{count:UInt32}}"""  # noqa: S608 - constants
_COUNT = "SELECT count() AS spans FROM all_spans WHERE TraceId = toFixedString(unhex({id:String}), 16)"
LEVELS = ((21, "fatal"), (17, "error"), (13, "warn"), (9, "info"), (5, "debug"), (1, "trace"))
"""OTLP's severity numbers, from each on."""


async def get_trace(queries: Queries, said: str) -> TraceView:
    """The trace whose id is `said` or begins with it.

    Raises:
        InvalidValue: it is not hex, too short, or several ids begin with it.
        NotFound: there is none.
        LimitReached, Overloaded: see `Engine.rows`.
    """
    trace = await whole_id(queries, said)
    rows = await queries.pool.rows(_SPANS, {"id": trace, "count": SPANS + 1}, limits=queries.limits(rows=SPANS + 1))
    if not rows:
        raise missing(said)
    count = len(rows)
    if count > SPANS:
        found = await queries.pool.rows(_COUNT, {"id": trace}, limits=queries.limits(rows=1))
        count = max(count, int(found[0]["spans"]))
    spans = [_span(row) for row in rows[:SPANS]]
    first, last = spans[0].start, max(span.start + span.length for span in spans)
    said_of_it = Search(trace=trace, since=max(0, first - AROUND), until=last + AROUND, limit=RECORDS, newest=False)
    page = await page_of(queries, said_of_it)  # each record once, though it was printed and sent
    records = [_record(one) for one in page.records]
    return lay_out(trace, spans, records, count=count, more_records=page.cursor is not None)


async def whole_id(queries: Queries, said: str) -> str:
    """The one trace id that begins with `said`.

    Raises:
        InvalidValue: it is not hex, too short, or several ids begin with it; `candidates` are the latest of them.
        NotFound: there is none.
    """
    text = said.lower()
    if not _ID.fullmatch(text):
        raise InvalidValue(
            f"trace {scrub(said, limit=40)!r} is not {LEAST_DIGITS} to 32 hex digits",
            hint="take the id from the list of traces; its beginning is enough",
            field="trace",
        )
    if len(text) == 32:
        return text
    bounds = {"low": text.ljust(32, "0"), "high": text.ljust(32, "f"), "count": CANDIDATES + 1}
    rows = await queries.pool.rows(_WHICH, bounds, limits=queries.limits(rows=CANDIDATES + 1))
    if not rows:
        raise missing(said)
    if len(rows) > 1:
        candidates = [str(row["id"]) for row in rows[:CANDIDATES]]
        shown = ", ".join(f"{row['id']} ({iso(int(row['last']))})" for row in rows[:CANDIDATES])
        raise InvalidValue(
            f"several traces begin with {text}", hint=f"the latest are {shown}", field="trace", candidates=candidates
        )
    return str(rows[0]["id"])


def missing(said: str) -> NotFound:
    """The refusal of a trace that is not there."""
    return NotFound(
        f"there is no trace {scrub(said, limit=40)}",
        hint="a trace is visible a second after it ended, and kept for ATOLL_TELEMETRY_TRACES_DAYS",
    )


def level(text: str, number: int) -> str:
    """The level of a log record in lower case: its own word, else that of its number."""
    return text.lower() or next((name for least, name in LEVELS if number >= least), "")


def _span(row: dict[str, Any]) -> Span:
    return Span(
        id=row["id"],
        parent=row["parent"].strip("0") and row["parent"],
        name=row["name"],
        service=row["service"],
        instance=row["instance"],
        source=row["source"],
        kind=row["kind"],
        start=int(row["start"]),
        duration=min(int(row["duration"]), LONGEST + 1),
        error=bool(row["error"]),
        message=row["message"],
        route=row["route"],
        method=row["method"],
        http_status=row["http_status"],
        attributes=row["attributes"],
        resource=row["resource"],
        events=tuple(_events(row["event_times"], row["event_names"], row["event_attributes"])),
        links=tuple(zip(row["link_traces"], row["link_spans"], strict=False)),
    )


def _events(times: Sequence[Any], names: Sequence[str], attributes: Sequence[dict[str, str]]) -> list[Event]:
    return [
        Event(at=int(at), name=name, attributes=given)
        for at, name, given in zip(times, names, attributes, strict=False)
    ]


def _record(found: LogRecord) -> Record:
    return Record(
        at=found.nanos,
        level=level(found.level, found.severity),
        service=found.service,
        instance=found.instance,
        span=found.span,
        text=found.text,
        attributes=found.attributes,
    )
