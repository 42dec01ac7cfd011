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
from atoll.telemetry.logs.record import CUT
from atoll.telemetry.logs.search import COLUMNS, Search, conditions, next_cursor, page_statement
from atoll.telemetry.logs.stream import NOTE_SCOPE
from atoll.telemetry.logs.twins import LATER, twins
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
    """These records (a stretch of the search) without the printed ones that were sent as well."""
    services = tuple({record.service for record in records if record.source == "stdout"})
    if not services or (search.sources and "otlp" not in search.sources):
        return list(records)
    first, last = min(record.nanos for record in records), max(record.nanos for record in records)
    where, values = conditions(replace(search, services=services, since=0, until=1 << 63))
    values |= {"from": max(0, first - LATER), "first": first, "last": last, "to": last + LATER, "limit": MARGIN}
    around = await asked(
        queries,
        f"SELECT {COLUMNS} FROM logs WHERE {where} "  # noqa: S608 - our own words
        "AND Timestamp >= fromUnixTimestamp64Nano({from:Int64}) AND Timestamp <= fromUnixTimestamp64Nano({to:Int64}) "
        "AND (Timestamp < fromUnixTimestamp64Nano({first:Int64}) OR Timestamp > fromUnixTimestamp64Nano({last:Int64})) "
        "LIMIT {limit:UInt64}",
        values,
        rows=MARGIN,
    )
    return merged([*records, *(record_of(row) for row in around)], len(records))


def merged(records: Sequence[LogRecord], shown: int) -> list[LogRecord]:
    """The first `shown` of these records, without the printed ones that were sent as well."""
    pairs = twins(records)
    told = {sent: printed for printed, sent in pairs.items()}
    return [
        joined(record, records[told[index]]) if index in told else record
        for index, record in enumerate(records[:shown])
        if index not in pairs
    ]


def joined(sent: LogRecord, printed: LogRecord) -> LogRecord:
    """The sent record with what only its printed twin knows: the run, and the stack trace under the message."""
    head, newline, trace = printed.text.partition("\n")
    text = f"{sent.text}\n{trace}" if newline and "\n" not in sent.text and head else sent.text
    return msgspec.structs.replace(sent, run=printed.run, text=text)
