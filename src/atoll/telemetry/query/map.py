"""The service map: who called whom in a stretch of time, out of the request log's roll-up and out of spans."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import QueryParams

from atoll.model.traffic import Figures, ServiceMap
from atoll.telemetry.query.app import Queries
from atoll.telemetry.query.callgraph import GATEWAY, Call, put_together
from atoll.telemetry.query.parameters import Parameters
from atoll.telemetry.query.red import ENTRY, figures
from atoll.telemetry.query.search import FAILED
from atoll.telemetry.query.traces import WINDOW
from atoll.telemetry.query.window import ROLLED, read_window

EDGES = 5_000
"""Edges of one kind at most."""
_SUMS = (
    "sum(Count) AS requests, sum(Failed) AS errors, sum(DurationSum) AS microseconds, sumMap(Buckets) AS buckets"
    f" FROM requests WHERE {ROLLED} AND Edge != 'tcp' AND Service != ''"
)
_LOGGED = (
    f"SELECT if(Edge = 'gateway', 'gateway', Caller) AS caller, Service AS callee, {_SUMS} GROUP BY caller, callee"
)
_ASKED = f"SELECT Service AS service, {_SUMS} GROUP BY service"
_GATEWAY = _SUMS.join(("SELECT 'gateway' AS service, ", " AND Edge = 'gateway' GROUP BY service"))

_COUNTED = """count() AS requests, countIf(failed) AS errors, sum(least(took, 9007199254740992)) / 1000 AS microseconds,
    quantilesTDigest(0.5, 0.95, 0.99)(took) AS durations"""
_LATE = f"""(
    SELECT cityHash64(TraceId, ParentSpanId) FROM all_spans
    WHERE {WINDOW} AND {ENTRY} AND StatusCode = 2 AND (SpanAttributes['rpc.system'] = 'grpc' OR SpanAttributes['rpc.system.name'] = 'grpc'))"""  # noqa: S608 - constants
"""The calls that a gRPC service failed by its own word. When the word comes after a message, only its span has it:
HAProxy cannot read a trailer."""
_PROXY = "ServiceName IN ('gateway', 'mesh') AND Source != 'otlp'"
"""Spans of HAProxy; by ServiceName the table is in order."""
_TRACED = f"""
WITH
    proxied AS (
        SELECT cityHash64(TraceId, SpanId) AS id, cityHash64(TraceId, ParentSpanId) AS parent, toString(Source) AS source,
            SpanAttributes['atoll.upstream'] AS upstream, Duration AS took, {FAILED} OR id IN {_LATE} AS failed
        FROM all_spans WHERE {WINDOW} AND {_PROXY}),
    sent AS (
        SELECT cityHash64(TraceId, SpanId) AS id, toString(ServiceName) AS service, SpanKind AS kind
        FROM all_spans WHERE {WINDOW} AND Source = 'otlp')
SELECT caller, callee, {_COUNTED}
FROM (
    SELECT multiIf(above.service != '', above.service, beyond.upstream != '', beyond.upstream,
            entered.source = 'gateway', 'gateway', '') AS caller,
        entered.upstream AS callee, entered.took AS took, entered.failed AS failed
    FROM proxied AS entered
    LEFT ANY JOIN sent AS above ON above.id = entered.parent
    LEFT ANY JOIN proxied AS beyond ON beyond.id = entered.parent
    UNION ALL
    SELECT above.service AS caller, entered.service AS callee, entered.took AS took, entered.failed AS failed
    FROM (
        SELECT cityHash64(TraceId, ParentSpanId) AS parent, toString(ServiceName) AS service, Duration AS took,
            {FAILED} AS failed
        FROM all_spans WHERE {WINDOW} AND {ENTRY} AND ParentSpanId != toFixedString('', 8)) AS entered
    INNER ANY JOIN sent AS above ON above.id = entered.parent
    WHERE above.service != entered.service OR above.kind IN (3, 4))
WHERE caller != '' AND callee != ''
GROUP BY caller, callee LIMIT {EDGES}"""  # noqa: S608 - constants
"""A span of gateway or mesh is a call of its upstream by who made the span above it; when that is one of HAProxy's too,
its upstream sends no spans but passes the trace on. Between two services without a proxy, their own spans tell."""
_PEERS = f"""
SELECT ServiceName AS caller, peer.1 AS callee, peer.2 AS kind, {_COUNTED}
FROM (
    SELECT ServiceName, Duration AS took, {FAILED} AS failed, SpanAttributes AS a, multiIf(
        a['db.system.name'] != '', (a['db.system.name'], 'database'),
        a['db.system'] != '', (a['db.system'], 'database'),
        a['messaging.system'] != '', (a['messaging.system'], 'messaging'),
        a['peer.service'] != '', (a['peer.service'], 'external'),
        match(a['server.address'], '[.][A-Za-z]'), (a['server.address'], 'external'),
        ('', '')) AS peer
    FROM all_spans WHERE {WINDOW} AND SpanKind IN (3, 4) AND Source = 'otlp')
WHERE callee != ''
GROUP BY caller, callee, kind LIMIT {EDGES}"""  # noqa: S608 - constants
_OWN = f"""
SELECT ServiceName AS service, {_COUNTED}
FROM (SELECT ServiceName, Duration AS took, {FAILED} AS failed FROM all_spans WHERE {WINDOW} AND {ENTRY})
GROUP BY service"""  # noqa: S608 - constants


async def get_map(queries: Queries, given: QueryParams) -> ServiceMap:
    """The map that a query string asks for.

    Raises:
        InvalidValue: a parameter cannot be used.
        LimitReached, Overloaded: see `Engine.rows`.
    """
    window = read_window(Parameters(given, ("since", "until")), queries.clock.wall())

    async def ask(sql: str) -> list[dict[str, Any]]:
        found = await queries.pool.rows(sql, window.parameters, limits=queries.limits(rows=EDGES))
        assert isinstance(found, list)
        return found

    asked: dict[str, Figures] = {}
    for sql in (_OWN, _ASKED, _GATEWAY):  # where both know a service, the request log's count stands
        asked |= {row["service"]: figures(row, window.seconds) for row in await ask(sql)}
    calls = {
        sql: [
            Call(row["caller"], row["callee"], figures(row, window.seconds), row.get("kind", "service")) for row in rows
        ]
        for sql, rows in [(sql, await ask(sql)) for sql in (_LOGGED, _TRACED, _PEERS)]
    }
    known = [call for call in calls[_PEERS] if call.callee != GATEWAY]
    return put_together(window, calls[_LOGGED], calls[_TRACED], known, asked)
