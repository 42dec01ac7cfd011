"""Records out of the store: pages of a search, each record once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from atoll.errors import InvalidValue
from atoll.kit.text import scrub
from atoll.telemetry.logs.answers import LogRecord, Page
from atoll.telemetry.logs.parse import parse_line
from atoll.telemetry.logs.record import CUT
from atoll.telemetry.logs.search import COLUMNS, FOREVER, Search, conditions, next_cursor, page_statement
from atoll.telemetry.logs.stream import NOTE_SCOPE
from atoll.telemetry.logs.twins import LATER, ORIGINAL, PRINTED, links, twins
from atoll.telemetry.query.app import Queries

BAD_REGEX = 427
"""ClickHouse's code for a regular expression that is none."""
MARGIN = 2000
"""Records before and behind a page that are looked at for twins of its own, at most."""


def iso(nanos: int) -> str:
    """Nanoseconds since 1970 as ISO 8601 in UTC."""
    seconds, rest = divmod(nanos, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def record_of(row: dict[str, Any]) -> LogRecord:
    """A row of `search.COLUMNS` as it is shown."""
    attributes = row["attributes"]
    note = row["scope"] == NOTE_SCOPE and row["source"] != "otlp"
    kind = "note" if note else "cut" if attributes.get(CUT) == "line" else "line"
    trace, span = row["trace"], row["span"]
    return LogRecord(
        time=iso(row["at"]),
        nanos=row["at"],
        service=row["service"],
        instance=row["instance"],
        source=row["source"],
        kind=kind,
        severity=row["severity"],
        level=row["level"],
        scope="" if note else row["scope"],
        trace=trace if trace.strip("0") else "",
        span=span if span.strip("0") else "",
        run=row["run"],
        text=row["text"],
        attributes=attributes,
    )


async def asked(queries: Queries, sql: str, values: dict[str, Any], *, rows: int) -> list[dict[str, Any]]:
    """The rows of a statement of ours within the limits of a question.

    Raises:
        InvalidValue: the regular expression is none; it says where.
    """
    try:
        found: list[dict[str, Any]] = await queries.pool.rows(sql, values, limits=queries.limits(rows=rows))
    except InvalidValue as error:
        if error.fields.get("engine_code") == BAD_REGEX:
            said = error.detail.partition("re2: ")[2].partition(". Look at")[0] or "it cannot be understood"
            raise InvalidValue(
                f"grep: {scrub(said, limit=200)}",
                hint="quote ( ) [ ] . * + ? with a backslash; no look-around",
                field="grep",
            ) from None
        raise
    return found


async def page_of(queries: Queries, search: Search) -> Page:
    """One page of a search."""
    sql, values = page_statement(search)
    rows = await asked(queries, sql, values, rows=search.limit + 1)
    more = len(rows) > search.limit
    records = [record_of(row) for row in rows[: search.limit]]
    cursor = next_cursor(search, [record.nanos for record in records]) if more else None
    return Page(records=await once(queries, search, records), cursor=cursor)


async def once(queries: Queries, search: Search, records: Sequence[LogRecord]) -> list[LogRecord]:
    """These records (a stretch of the search), each once, with the trace that only one of its two ways knows."""
    ways = {record.source for record in records if record.source == "stdout" or record.scope == PRINTED}
    services = tuple({record.service for record in records if record.source == "stdout" or record.scope == PRINTED})
    if not ways or (search.sources and "otlp" not in search.sources):
        return list(records)
    first, last = min(record.nanos for record in records), max(record.nanos for record in records)
    # Lines that were only printed know no trace: those of one are found by what was sent of them.
    wide = replace(search, services=services, since=0, until=FOREVER, trace="")
    where, values = conditions(wide)
    values |= {"from": max(0, first - LATER), "first": first, "last": last, "to": last + LATER, "limit": MARGIN}
    within = "" if search.trace else _OUTSIDE
    around = await asked(
        queries,
        f"SELECT {COLUMNS} FROM logs WHERE {where} "  # noqa: S608 - our own words
        "AND Timestamp >= fromUnixTimestamp64Nano({from:Int64}) AND Timestamp <= fromUnixTimestamp64Nano({to:Int64}) "
        f"{within} LIMIT {{limit:UInt64}}",
        values,
        rows=MARGIN,
    )
    return merged([*records, *(record_of(row) for row in around)], len(records), adopt=bool(search.trace))


_OUTSIDE = (
    "AND (Timestamp < fromUnixTimestamp64Nano({first:Int64}) OR Timestamp > fromUnixTimestamp64Nano({last:Int64}))"
)


def merged(records: Sequence[LogRecord], shown: int, *, adopt: bool = False) -> list[LogRecord]:
    """The first `shown` of these records, each once. `adopt`: in the place of a line that was sent, the captured record
    that has it, even when that is not among the first.
    """
    records = _each(records) if adopt else list(records)
    pairs, linked = twins(records), links(records)
    told = {sent: printed for printed, sent in pairs.items()}
    traced: dict[int, int] = {}
    for sent, owner in linked.items():
        traced.setdefault(owner, sent)
    found: list[LogRecord] = []
    adopted: set[int] = set()
    for index, record in enumerate(records[:shown]):
        captured = linked.get(index)
        if index in pairs or (captured is not None and (captured < shown or captured in adopted)):
            continue
        if captured is not None:
            adopted.add(captured)
            if adopt:
                found.append(with_trace(records[captured], record))
        elif index in told:
            found.append(joined(record, records[told[index]]))
        elif index in traced:
            found.append(with_trace(record, records[traced[index]]))
        else:
            found.append(understood(record))
    return found


def _each(records: Sequence[LogRecord]) -> list[LogRecord]:
    """Without those of a second look that the first one had too."""
    seen: set[tuple[int, str, str, str]] = set()
    found = []
    for record in records:
        key = (record.nanos, record.source, record.instance, record.text)
        if key not in seen:
            seen.add(key)
            found.append(record)
    return found


def with_trace(captured: LogRecord, sent: LogRecord) -> LogRecord:
    """The captured record with the trace that was sent for its line."""
    if captured.trace:
        return captured
    return msgspec.structs.replace(captured, trace=sent.trace, span=sent.span)


def understood(record: LogRecord) -> LogRecord:
    """A record; a line that was only sent says what it would say if it had been captured."""
    if record.scope != PRINTED or record.source != "otlp":
        return record
    told = parse_line(record.text)
    return msgspec.structs.replace(
        record,
        text=told.body,
        severity=told.severity,
        level=told.level,
        scope=told.scope,
        attributes={**record.attributes, **(told.attributes or {})},
    )


def joined(sent: LogRecord, printed: LogRecord) -> LogRecord:
    """The sent record with what only its printed twin knows: the run, and the stack trace under the message."""
    head, newline, trace = printed.text.partition("\n")
    text = f"{sent.text}\n{trace}" if newline and "\n" not in sent.text and head else sent.text
    attributes = {name: value for name, value in sent.attributes.items() if name != ORIGINAL}
    return msgspec.structs.replace(sent, run=printed.run, text=text, attributes=attributes)
