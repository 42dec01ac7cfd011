"""Copies the traces that the tail rules keep to `kept_spans`.

A look takes the spans that arrived since the last one and are older than the quiet time, and decides about their whole
traces; a trace to which spans still arrive comes up again in a later look, because of these spans. How far it looked is
written down only after the copies are made, and a copy leaves out what is there already: a look that was killed is
repeated, and nothing is lost or there twice.

One process of a cluster looks; two would copy a trace twice when they do it in the same second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from atoll.telemetry.engine import Limits
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.tail import Reason, Rules, Trace, decide

WINDOW = 60_000
"""Milliseconds of arrivals that one look takes: after a pause, the next ones follow at once."""
COPIED = 1000
"""Traces copied by one statement."""
SKEW = 60_000
"""Milliseconds that a trace's other spans may have begun before those that just arrived."""
LONGEST = 6 * 3_600_000
"""Milliseconds before its arrival that a span may have begun to be looked at: one of long ago must not make us read all
days; so of a longer trace only the later spans are kept."""
LIMITS = Limits(seconds=30, memory=256 << 20, rows=1_000_000)

NOW = """
SELECT toUnixTimestamp64Milli(now64(3)) AS now,
    (SELECT toUnixTimestamp64Milli(max(Until)) FROM decided_until) AS until
"""
ARRIVALS = """
SELECT count() AS spans, toUnixTimestamp64Milli(min(Arrived)) AS first FROM spans
WHERE Arrived > fromUnixTimestamp64Milli({after:Int64}) AND Arrived <= fromUnixTimestamp64Milli({until:Int64})
"""
STARTS = """
SELECT toInt64(toUnixTimestamp64Milli(min(Timestamp))) AS start FROM spans
WHERE Arrived > fromUnixTimestamp64Milli({after:Int64}) AND Arrived <= fromUnixTimestamp64Milli({until:Int64})
"""
TRACES = """
SELECT lower(hex(TraceId)) AS id,
    max(StatusCode = 2 OR HttpStatus >= 500) AS failed,
    max(Source != 'otlp' AND (SpanAttributes['atoll.mark'] != '' OR SpanAttributes['atoll.fallback'] != ''
        OR SpanAttributes['atoll.redispatched'] = 'true')) AS degraded,
    maxMap(map(toString(ServiceName), Duration)) AS longest
FROM spans
WHERE Timestamp >= fromUnixTimestamp64Milli({start:Int64}) AND TraceId != toFixedString('', 16) AND TraceId IN
(
    SELECT TraceId FROM spans WHERE Timestamp >= fromUnixTimestamp64Milli({start:Int64})
        AND Arrived > fromUnixTimestamp64Milli({after:Int64}) AND Arrived <= fromUnixTimestamp64Milli({until:Int64})
)
GROUP BY TraceId
HAVING max(Arrived) <= fromUnixTimestamp64Milli({quiet:Int64})
"""
COPY = """
INSERT INTO kept_spans SELECT * FROM spans
WHERE Timestamp >= fromUnixTimestamp64Milli({start:Int64})
    AND TraceId IN (SELECT toFixedString(unhex(arrayJoin({ids:Array(String)})), 16))
    AND (TraceId, SpanId) NOT IN
    (
        SELECT TraceId, SpanId FROM kept_spans WHERE Timestamp >= fromUnixTimestamp64Milli({start:Int64})
            AND TraceId IN (SELECT toFixedString(unhex(arrayJoin({ids:Array(String)})), 16))
    )
LIMIT 1 BY TraceId, SpanId
"""
DECIDED = "INSERT INTO decided_until SELECT fromUnixTimestamp64Milli({until:Int64})"


class Keeper:
    """Looks at what arrived; counts what it decided."""

    def __init__(self, pool: EnginePool, rules: Rules, *, quiet: float) -> None:
        self._pool = pool
        self._rules = rules
        self._quiet = quiet
        self.decided = 0
        """Traces looked at."""
        self.kept: Counter[Reason] = Counter()
        """Traces kept, by the reason."""

    async def look(self) -> None:
        """Decide about every trace that is quiet by now.

        Raises:
            AtollError: the engine did not answer, or has no room; the next look repeats what this one left.
        """
        now = (await self._pool.rows(NOW))[0]
        # Rows of an insert that still runs have an arrival in the past, and cannot be seen yet; nor can those that arrive
        # in this very millisecond.
        running = self._pool.inserting_for()
        horizon = now["now"] - 1 - int(max(self._quiet, running and running + 1) * 1000)
        after = now["until"]
        while after < horizon:
            found = (await self._pool.rows(ARRIVALS, {"after": after, "until": horizon}))[0]
            if not found["spans"]:
                return
            after = max(after, found["first"] - 1)
            until = min(horizon, after + WINDOW)
            await self._window(after, until, horizon)
            await self._pool.command(DECIDED, {"until": until})
            after = until

    async def _window(self, after: int, until: int, quiet: int) -> None:
        window = {"after": after, "until": until}
        start = max((await self._pool.rows(STARTS, window))[0]["start"] - SKEW, after - LONGEST)
        rows = await self._pool.rows(TRACES, {**window, "start": start, "quiet": quiet}, limits=LIMITS)
        kept = [(trace.id, reason) for trace in map(_trace, rows) if (reason := decide(trace, self._rules))]
        for few in _few(kept):
            await self._pool.command(COPY, {"start": start, "ids": [trace for trace, _ in few]})
        self.decided += len(rows)
        self.kept.update(reason for _, reason in kept)


def _few(kept: Sequence[tuple[str, Reason]]) -> Sequence[Sequence[tuple[str, Reason]]]:
    return [kept[first : first + COPIED] for first in range(0, len(kept), COPIED)]


def _trace(row: Mapping[str, Any]) -> Trace:
    return Trace(id=row["id"], failed=bool(row["failed"]), degraded=bool(row["degraded"]), longest=dict(row["longest"]))
