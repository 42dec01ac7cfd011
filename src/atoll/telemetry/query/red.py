"""Rates, errors and durations by service, route, instance or edge, in steps of time.

Counted are the requests that went through gateway and mesh (the roll-up of their log: complete, cheap, without any
instrumentation). For a service that is not in it, its own entry spans are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from starlette.datastructures import QueryParams

from atoll.model.traffic import Bucket, Figures, Latency, Point, Red, RedSeries
from atoll.telemetry.query.app import Queries
from atoll.telemetry.query.parameters import NANO, Parameters
from atoll.telemetry.query.search import FAILED
from atoll.telemetry.query.traces import WINDOW
from atoll.telemetry.query.waterfall import iso
from atoll.telemetry.query.window import ROLLED, Window, read_step, read_window
from atoll.telemetry.requests.buckets import BOUNDS, quantile, upper

SERIES = 500
"""Series of one answer."""
ROWS = 200_000
SHARES = (0.5, 0.95, 0.99)
KINDS = ("service", "route", "instance", "edge")
KEYS: dict[str, tuple[str, str]] = {
    "service": ("Service", "ServiceName"),
    "route": ("if(Route != '', Route, Service)", "if(Route != '', Route, SpanName)"),
    "instance": ("Instance", "InstanceId"),
    "edge": ("multiIf(Edge = 'gateway', 'gateway', Caller = '', 'unknown', toString(Caller))", "'unknown'"),
}
"""What is told apart beside the service: in the roll-up, and in spans (which alone do not know who called)."""
FILTERS = {
    "service": ("Service", "ServiceName"),
    "route": ("Route", "Route"),
    "instance": ("Instance", "InstanceId"),
}
"""Parameters and the columns that they are of: in the roll-up, and in spans."""
FIELD = {"service": "", "route": "route", "instance": "instance", "edge": "caller"}

ENTRY = "SpanKind IN (2, 5) AND Source = 'otlp'"
"""Spans in which a service began to work for somebody."""
_REQUESTS = """
SELECT Service AS service, {key} AS part, toUnixTimestamp(toStartOfInterval(Time, toIntervalSecond({{step:UInt32}}))) AS time,
    grouping(time) AS whole, sum(Count) AS requests, sum(Failed) AS errors, sum(DurationSum) AS microseconds,
    sumMap(Buckets) AS buckets, sumIf(Count, Fallback != '') AS fallbacks
FROM requests WHERE {rolled} AND Edge != 'tcp' AND Service != ''{conditions}
GROUP BY GROUPING SETS ((service, part, time), (service, part)) ORDER BY whole DESC, time"""
_SPANS = """
SELECT ServiceName AS service, {key} AS part,
    toUnixTimestamp(toStartOfInterval(Timestamp, toIntervalSecond({{step:UInt32}}))) AS time, grouping(time) AS whole,
    count() AS requests, countIf({failed}) AS errors, sum(least(Duration, 9007199254740992)) / 1000 AS microseconds,
    quantilesTDigest(0.5, 0.95, 0.99)(Duration) AS durations
FROM all_spans WHERE {window} AND {entry}{conditions}
    AND ServiceName NOT IN (SELECT DISTINCT Service FROM requests WHERE {rolled} AND Edge != 'tcp')
GROUP BY GROUPING SETS ((service, part, time), (service, part)) ORDER BY whole DESC, time"""


async def get_red(queries: Queries, given: QueryParams) -> Red:
    """The figures that a query string asks for.

    Raises:
        InvalidValue: a parameter cannot be used.
        LimitReached, Overloaded: see `Engine.rows`.
    """
    said = Parameters(given, ("service", "route", "instance", "by", "step", "since", "until", "limit"))
    kind = said.choice("by", KINDS, "service")
    window = read_window(said, queries.clock.wall())
    step = read_step(said, window)
    most = said.whole("limit", 100, least=1, most=SERIES)
    values: dict[str, Any] = {**window.parameters, "step": step}
    rolled, spans = "", ""
    for name, (column, span_column) in FILTERS.items():
        if (value := said.text(name)) is not None:
            rolled += f" AND {column} = {{{name}:String}}"
            spans += f" AND {span_column} = {{{name}:String}}"
            values[name] = value
    key, span_key = KEYS[kind]
    statements = {
        "requests": _REQUESTS.format(key=key, rolled=ROLLED, conditions=rolled),
        "spans": _SPANS.format(
            key=span_key, failed=FAILED, window=WINDOW, entry=ENTRY, rolled=ROLLED, conditions=spans
        ),
    }
    found: list[RedSeries] = []
    for source, sql in statements.items():
        rows = await queries.pool.rows(sql, values, limits=queries.limits(rows=ROWS))
        found += _series(rows, FIELD[kind], source, window, step)
    found.sort(key=lambda one: (-one.total.requests, one.service, one.route, one.instance, one.caller))
    return Red(**window.words(), step=step, series=tuple(found[:most]), cut=max(0, len(found) - most))


def _series(rows: Iterable[dict[str, Any]], field: str, source: str, window: Window, step: int) -> list[RedSeries]:
    """Totals come first, then the points in their order."""
    points: dict[tuple[str, str], list[Point]] = {}
    totals: dict[tuple[str, str], Figures] = {}
    for row in rows:
        key = (row["service"], row["part"])
        if row["whole"]:
            totals[key] = figures(row, window.seconds)
        else:
            values = {
                name: getattr(found, name) for found in [figures(row, step)] for name in Figures.__struct_fields__
            }
            points.setdefault(key, []).append(Point(time=iso(int(row["time"]) * NANO), **values))
    return [
        RedSeries(
            service=key[0],
            source=source,
            total=total,
            points=tuple(points.get(key, ())),
            **({field: key[1]} if field else {}),
        )
        for key, total in totals.items()
    ]


def figures(row: dict[str, Any], seconds: float) -> Figures:
    """RED of a row with `requests`, `errors`, `microseconds` and either `buckets` (µs) or `durations` (ns)."""
    requests, errors = int(row["requests"]), int(row["errors"])
    if "buckets" in row:
        buckets = {int(lower): int(count) for lower, count in row["buckets"].items()}
        durations = [quantile(buckets, share) for share in SHARES]
    else:
        durations = [float(one) / 1000 for one in row["durations"]]
    return Figures(
        requests=requests,
        errors=errors,
        fallbacks=int(row.get("fallbacks", 0)),
        rps=round(requests / seconds, 4),
        error_share=round(errors / requests, 6) if requests else 0.0,
        mean_ms=_ms(float(row["microseconds"]) / requests) if requests else 0.0,
        p50_ms=_ms(durations[0]),
        p95_ms=_ms(durations[1]),
        p99_ms=_ms(durations[2]),
    )


def _ms(microseconds: float) -> float:
    return round(microseconds / 1000, 3)


_LATENCY = """
SELECT roundDown(toUInt32(least(intDiv(greatest(Duration, 1) - 1, 1000), 4000000000)), {{bounds:Array(UInt32)}}) AS lower,
    count() AS requests, countIf({failed}) AS errors,
    groupArraySorted(3)((-toUnixTimestamp64Nano(Timestamp), lower(hex(TraceId)))) AS latest
FROM all_spans WHERE {window} AND {who}{conditions}
GROUP BY lower ORDER BY lower"""
_OWN = ENTRY + " AND ServiceName = {service:String}"
_PROXIED = "Source != 'otlp' AND SpanAttributes['atoll.upstream'] = {service:String}"


async def get_latency(queries: Queries, given: QueryParams) -> Latency:
    """How long a service's requests took, by its own spans; by those of gateway and mesh when it sends none.

    Raises:
        InvalidValue: a parameter cannot be used.
        LimitReached, Overloaded: see `Engine.rows`.
    """
    said = Parameters(given, ("service", "route", "since", "until"))
    service, route = said.text("service") or "", said.text("route")
    window = read_window(said, queries.clock.wall())
    values: dict[str, Any] = {**window.parameters, "service": service, "bounds": list(BOUNDS)}
    if route is not None:
        values["route"] = route
    rows: Sequence[dict[str, Any]] = ()
    for who in (_OWN, _PROXIED):
        conditions = "" if route is None else " AND Route = {route:String}"
        sql = _LATENCY.format(failed=FAILED, window=WINDOW, who=who, conditions=conditions)
        rows = await queries.pool.rows(sql, values, limits=queries.limits(rows=len(BOUNDS) + 1))
        if rows:
            break
    return Latency(service=service, route=route or "", **window.words(), buckets=tuple(map(_bucket, rows)))


def _bucket(row: dict[str, Any]) -> Bucket:
    lower = int(row["lower"])
    end = upper(lower)
    return Bucket(
        above_ms=lower / 1000,
        upto_ms=None if end == float("inf") else end / 1000,
        requests=int(row["requests"]),
        errors=int(row["errors"]),
        traces=tuple(dict.fromkeys(trace for _, trace in row["latest"])),
    )
