"""Counts instead of records: patterns of similar lines, and how many of each level over time.

A record that came in two ways is counted once: of equal lines of an instance, as many as came the more frequent way.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from atoll.telemetry.logs.answers import Bucket, Histogram, LogPattern, Patterns
from atoll.telemetry.logs.levels import name_of
from atoll.telemetry.logs.patterns import Miner, Seen, last_deployments
from atoll.telemetry.logs.reading import asked, iso
from atoll.telemetry.logs.search import FOREVER, Search, conditions
from atoll.telemetry.logs.stream import NOTE_SCOPE
from atoll.telemetry.logs.twins import PRINTED
from atoll.telemetry.query.app import Queries
from atoll.telemetry.query.parameters import NANO

LINES = 5000
"""Groups of equal lines that the miner is given, the most frequent."""
EXAMPLE = 2000
"""Characters of an example."""
RUNS = 10_000
"""Runs of instances that are looked at to find the last deployment, the newest."""
BUCKETS = 500
"""Of one histogram at most."""
UNKNOWN = "unknown"
LEFT_OUT = (NOTE_SCOPE, PRINTED)
"""Scopes that patterns leave out: notes about instances, and lines that are captured too."""
_WITHIN = "Timestamp >= fromUnixTimestamp64Nano({from:Int64}) AND Timestamp < fromUnixTimestamp64Nano({to:Int64})"


async def patterns_of(queries: Queries, search: Search, *, new: bool) -> Patterns:
    """The patterns of the records that a search finds; with `new`, those not seen before the last deployment.

    `since` and `until` choose what is counted; when a pattern was first seen is asked of the whole store.
    """
    deployed = last_deployments(await _runs(queries, search.services))
    where, values = conditions(replace(search, since=0, until=FOREVER))
    values |= {"from": search.since, "to": min(search.until, FOREVER - 1), "left": list(LEFT_OUT)}
    rows = await asked(
        queries,
        "SELECT service, sum(n) AS count, min(f) AS first, max(l) AS last, any(b) AS example, max(s) AS severity FROM ("  # noqa: S608 - our own words
        "SELECT ServiceName AS service, Pattern, "
        f"greatest(countIf(Source = 'otlp' AND {_WITHIN}), countIf(Source != 'otlp' AND {_WITHIN})) AS n, "
        "toUnixTimestamp64Nano(min(Timestamp)) AS f, toUnixTimestamp64Nano(max(Timestamp)) AS l, "
        "substring(any(Body), 1, {example:UInt64}) AS b, max(SeverityNumber) AS s "
        f"FROM logs WHERE {where} AND ScopeName NOT IN {{left:Array(String)}} GROUP BY ServiceName, InstanceId, Pattern"
        ") GROUP BY service, Pattern HAVING count > 0 ORDER BY count DESC LIMIT {lines:UInt64}",
        {**values, "example": EXAMPLE, "lines": LINES + 1},
        rows=LINES + 1,
    )
    miner = Miner()
    for row in rows[:LINES]:
        miner.add(Seen(row["service"], row["example"], row["count"], row["first"], row["last"], row["severity"]))
    found = [
        LogPattern(
            service=one.service,
            pattern=one.text,
            count=one.count,
            first=iso(one.first),
            last=iso(one.last),
            severity=one.severity,
            level=name_of(one.severity),
            example=one.example,
            new=one.service in deployed and one.first >= nanos(deployed[one.service]),
        )
        for one in miner.found
    ]
    return Patterns(
        patterns=[one for one in found if one.new or not new][: search.limit],
        deployed={service: iso(nanos(start)) for service, start in sorted(deployed.items())},
        more=len(rows) > LINES or len(found) > search.limit,
    )


async def histogram_of(queries: Queries, search: Search, *, buckets: int) -> Histogram:
    """How many records of each level there were, in steps of whole seconds, counted from 1970."""
    step = max(1, -(-(search.until - search.since) // (buckets * NANO)))
    where, values = conditions(search)
    rows = await asked(
        queries,
        "SELECT bucket, severity, sum(n) AS count FROM ("  # noqa: S608 - our own words
        "SELECT intDiv(toUnixTimestamp64Nano(Timestamp), {step:Int64}) AS bucket, "
        "intDiv(SeverityNumber + 3, 4) AS severity, "
        "greatest(countIf(Source = 'otlp'), countIf(Source != 'otlp')) AS n "
        f"FROM logs WHERE {where} AND ScopeName != {{printed:String}} "
        "GROUP BY bucket, severity, ServiceName, InstanceId, Pattern"
        ") GROUP BY bucket, severity ORDER BY bucket, severity",
        {**values, "step": step * NANO, "printed": PRINTED},
        rows=BUCKETS * 8,
    )
    counts: dict[int, dict[str, int]] = {}
    for row in rows:
        level = name_of(row["severity"] * 4 - 3) if row["severity"] else UNKNOWN
        counts.setdefault(row["bucket"], {})[level.lower()] = row["count"]
    return Histogram(
        step=float(step),
        buckets=[Bucket(time=iso(bucket * step * NANO), counts=levels) for bucket, levels in counts.items()],
    )


def nanos(wall: float) -> int:
    """Wall seconds as nanoseconds, exact to the millisecond that runs are stamped with."""
    return round(wall * 1000) * 1_000_000


async def _runs(queries: Queries, services: tuple[str, ...]) -> dict[str, list[float]]:
    """The starts of the runs that are known, in wall seconds."""
    where = "Run != ''" + (" AND ServiceName IN {services:Array(String)}" if services else "")
    rows = await asked(
        queries,
        f"SELECT ServiceName AS service, Run AS run FROM logs WHERE {where} GROUP BY service, run "  # noqa: S608 - our own words
        "ORDER BY run DESC LIMIT {runs:UInt64}",
        {"runs": RUNS, **({"services": list(services)} if services else {})},
        rows=RUNS,
    )
    found: dict[str, list[float]] = {}
    for row in rows:
        start = datetime.fromisoformat(row["run"]).timestamp()
        found.setdefault(row["service"], []).append(start)
    return found
