"""Lists of traces out of the engine: first the ids that a search finds, then one row each.

The newest are looked for from the end backwards in growing slices of time, so that a list of the latest traces costs
what the latest minutes hold. The key of a row is the start of the first span that meets the conditions; paging by it
is exact, but for traces whose matching spans are further apart than `OVERLAP`: these may stand on two pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from atoll.model.trace import TracePage, TraceRow
from atoll.telemetry.query.app import Queries
from atoll.telemetry.query.parameters import NANO
from atoll.telemetry.query.search import FAILED, Search, conditions, cursor_of
from atoll.telemetry.query.waterfall import iso, ms

SLICES = (900 * NANO, 4 * 3600 * NANO)
"""Nanoseconds of the first slices; the last one is the rest."""
OVERLAP = 300 * NANO
"""Nanoseconds before a slice that are read too, so that a trace is met at its begin."""
AROUND = 3600 * NANO
"""Nanoseconds around the found spans in which the other spans of their traces are looked for."""

IDS = "(SELECT toFixedString(unhex(arrayJoin(splitByChar(',', {ids:String}))), 16))"
"""Trace ids of a parameter: a set that the index can be asked for."""
WINDOW = "Timestamp >= fromUnixTimestamp64Nano({from:Int64}, 'UTC') AND Timestamp < fromUnixTimestamp64Nano({to:Int64}, 'UTC')"
_WITHOUT_ERROR = f" AND TraceId NOT IN (SELECT TraceId FROM all_spans WHERE {WINDOW} AND {FAILED})"  # noqa: S608 - ours

_NEWEST = """
SELECT lower(hex(TraceId)) AS id, toUnixTimestamp64Nano(min(Timestamp)) AS key
FROM all_spans WHERE {window} AND {conditions}
GROUP BY TraceId HAVING key >= {{least_key:Int64}}{after}
ORDER BY key DESC, id DESC LIMIT {{count:UInt32}}"""
_SLOWEST = """
SELECT lower(hex(TraceId)) AS id, max(Duration) AS key
FROM all_spans WHERE {window} AND {conditions}
GROUP BY TraceId{after}
ORDER BY key DESC, id DESC LIMIT {{count:UInt32}}"""
_AFTER = "(key < {after_key:Int64} OR (key = {after_key:Int64} AND id < {after_id:String}))"

_ROWS = f"""
SELECT
    lower(hex(TraceId)) AS id,
    toUnixTimestamp64Nano(min(Timestamp)) AS start,
    toUnixTimestamp64Nano(max(Timestamp)) AS last,
    max(toUnixTimestamp64Nano(Timestamp) + least(Duration, 9007199254740992)) AS end,
    argMin((SpanName, ServiceName, HttpStatus, Duration, ParentSpanId = toFixedString('', 8)),
        (ParentSpanId != toFixedString('', 8), Timestamp)) AS root,
    arrayConcat(groupUniqArrayIf(100)(toString(ServiceName), Source != 'mesh'),
        groupUniqArrayIf(100)(SpanAttributes['atoll.upstream'], Source != 'otlp')) AS services,
    uniqExact(SpanId, Source) AS spans,
    uniqExactIf((SpanId, Source), {FAILED}) AS errors
FROM all_spans WHERE {WINDOW} AND TraceId IN {IDS}
GROUP BY TraceId"""  # noqa: S608 - constants


async def list_traces(queries: Queries, search: Search) -> TracePage:
    """One page.

    Raises:
        LimitReached, Overloaded: see `Engine.rows`.
    """
    found = await (_newest if search.order == "newest" else _slowest)(queries, search)
    more, found = len(found) > search.limit, found[: search.limit]
    rows = await _rows(queries, found, search)
    page = tuple(row for _, trace in found if (row := rows.get(trace)) is not None)
    return TracePage(traces=page, next=cursor_of(*found[-1]) if more else None)


def slices(since: int, until: int) -> Iterator[tuple[int, int]]:
    """The time from `until` back to `since`, in slices that grow."""
    for length in SLICES:
        if until - since <= length:
            break
        yield until - length, until
        until -= length
    yield since, until


async def _newest(queries: Queries, search: Search) -> list[tuple[int, str]]:
    until = search.until if search.after is None else min(search.until, search.after[0] + 1)
    found: dict[str, int] = {}
    if until <= search.since:
        return []
    for begin, end in slices(search.since, until):
        for key, trace in await _slice(queries, search, begin, end):
            found.setdefault(trace, key)
        if len(found) > search.limit:
            break
    return [(key, trace) for trace, key in found.items()][: search.limit + 1]


async def _slice(queries: Queries, search: Search, begin: int, end: int) -> list[tuple[int, str]]:
    words, values = _conditions(search)
    after = f" AND {_AFTER}" if search.after else ""
    sql = _NEWEST.format(window=WINDOW, conditions=words, after=after)
    bounds = {"from": max(search.since, begin - OVERLAP), "to": end, "least_key": begin, "count": search.limit + 1}
    return await _keys(queries, sql, {**values, **bounds, **_after(search)})


async def _slowest(queries: Queries, search: Search) -> list[tuple[int, str]]:
    words, values = _conditions(search)
    sql = _SLOWEST.format(window=WINDOW, conditions=words, after=f" HAVING {_AFTER}" if search.after else "")
    bounds = {"from": search.since, "to": search.until, "count": search.limit + 1}
    return await _keys(queries, sql, {**values, **bounds, **_after(search)})


def _conditions(search: Search) -> tuple[str, dict[str, str | int]]:
    words, values = conditions(search)
    return words + (_WITHOUT_ERROR if search.status == "ok" else ""), values


def _after(search: Search) -> dict[str, Any]:
    return {} if search.after is None else {"after_key": search.after[0], "after_id": search.after[1]}


async def _keys(queries: Queries, sql: str, values: dict[str, Any]) -> list[tuple[int, str]]:
    rows = await queries.pool.rows(sql, values, limits=queries.limits(rows=values["count"]))
    return [(int(row["key"]), str(row["id"])) for row in rows]


async def _rows(queries: Queries, found: Sequence[tuple[int, str]], search: Search) -> dict[str, TraceRow]:
    if not found:
        return {}
    begin, end = search.since, search.until
    if search.order == "newest":  # the keys are times: only the neighbourhood of this page is read
        begin, end = found[-1][0], found[0][0] + 1
    values = {"from": max(0, begin - AROUND), "to": end + AROUND, "ids": ",".join(trace for _, trace in found)}
    rows = await queries.pool.rows(_ROWS, values, limits=queries.limits(rows=len(found)))
    return {str(row["id"]): _row(row) for row in rows}


def _row(row: dict[str, Any]) -> TraceRow:
    name, service, status, duration, complete = row["root"]
    whole = int(row["end"]) - int(row["start"])
    return TraceRow(
        id=row["id"],
        start=iso(int(row["start"])),
        duration_ms=ms(int(duration) if complete else max(0, whole)),
        root=name,
        service=service,
        http_status=int(status),
        services=tuple(sorted({*row["services"]} - {""}, key=lambda one: (one != service, one))),
        spans=int(row["spans"]),
        errors=int(row["errors"]),
    )
