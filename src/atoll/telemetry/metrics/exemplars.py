"""Requests as exemplars: from a bucket of `atoll_request_duration_seconds` to traces that are in it.

No exemplar is stored for them: the gateway's spans are there anyway. The newest of each bucket are told.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from atoll.telemetry.metrics.conditions import where
from atoll.telemetry.metrics.red import BOUNDS, BUCKET, COLUMNS, le_of, wanted
from atoll.telemetry.metrics.series import NAME, Matcher, labels_of
from atoll.telemetry.metrics.storage import ExemplarFound, Reader

EACH = 2
"""Exemplars of one bucket."""
SPAN = {
    "edge": "toString(Source)",
    "service": "SpanAttributes['atoll.upstream']",
    "route": "toString(Route)",
    "instance": "SpanAttributes['atoll.instance']",
    "caller": "SpanAttributes['atoll.caller']",
    "fallback": "SpanAttributes['atoll.fallback']",
    "method": "toString(HttpMethod)",
    "code": "if(HttpStatus = 0, '', toString(HttpStatus))",
}
assert SPAN.keys() == COLUMNS.keys()


async def of_requests(
    pool: Reader, matchers: Sequence[Matcher], start_ms: int, end_ms: int, *, limit: int = 1000
) -> list[ExemplarFound]:
    """The newest `limit` exemplars of request series, in order of time.

    Raises:
        InvalidValue, LimitReached: as `storage.select`.
    """
    if BUCKET not in wanted(matchers):
        return []
    clause, parameters = where([matcher for matcher in matchers if matcher.name in SPAN], SPAN)
    labels = ", ".join(f"{column} AS {name}" for name, column in SPAN.items())
    rows = await pool.rows(
        f"SELECT {labels}, lower(hex(TraceId)) AS trace, lower(hex(SpanId)) AS span, Duration / 1e9 AS took, "  # noqa: S608 - our words
        "toUnixTimestamp64Milli(Timestamp) AS at "
        "FROM all_spans WHERE ServiceName IN ('gateway', 'mesh') AND Source IN ('gateway', 'mesh') "
        "AND Timestamp BETWEEN fromUnixTimestamp64Milli({start:Int64}) AND fromUnixTimestamp64Milli({end:Int64}) "
        f"AND ({clause}) ORDER BY Timestamp DESC "
        f"LIMIT {{each:UInt32}} BY {', '.join(SPAN)}, arrayFirstIndex(b -> took <= b / 1e6, {{bounds:Array(UInt32)}}) "
        "LIMIT {limit:UInt32}",
        {**parameters, "start": start_ms, "end": end_ms, "each": EACH, "bounds": list(BOUNDS), "limit": limit},
    )
    les = [matcher for matcher in matchers if matcher.name == "le"]
    found = []
    for row in reversed(rows):
        index = bisect_left(BOUNDS, row["took"] * 1e6)
        le = le_of(BOUNDS[index] if index < len(BOUNDS) else 0)
        if all(matcher.takes(le) for matcher in les):
            series = labels_of({**{name: row[name] for name in SPAN}, "le": le, NAME: BUCKET})
            of = (("span_id", row["span"]), ("trace_id", row["trace"]))
            found.append(ExemplarFound(series, of, row["at"], row["took"]))
    return found
