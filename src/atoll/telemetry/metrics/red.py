"""Requests as series, without a sample stored: the gateway's roll-up of ten seconds, told as Prometheus' counters.

`atoll_requests_total`, `atoll_request_duration_seconds_bucket`, `_sum`, `_count`, with edge, service, route, instance,
caller, fallback, method and code. They count from midnight (UTC), with a zero right after it, so rates over midnight are exact;
a series begins with a zero where its first request came, so no increase is lost, and ends an hour after its last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from atoll.errors import LimitReached
from atoll.telemetry.engine import Limits
from atoll.telemetry.metrics.conditions import where
from atoll.telemetry.metrics.counting import TEN, Counted, first_needed, instants, totals
from atoll.telemetry.metrics.series import NAME, Matcher, SeriesSamples, Values, labels_of
from atoll.telemetry.metrics.storage import LIMITS, SAMPLES_LIMIT, SERIES_LIMIT, Metadata, Reader

TOTAL = "atoll_requests_total"
BUCKET = "atoll_request_duration_seconds_bucket"
SUM = "atoll_request_duration_seconds_sum"
COUNT = "atoll_request_duration_seconds_count"
NAMES = (TOTAL, BUCKET, SUM, COUNT)
METADATA = (
    Metadata(TOTAL, "counter", "", "Requests through gateway and mesh, by what they were for and how they ended."),
    Metadata(BUCKET.removesuffix("_bucket"), "histogram", "seconds", "Time that requests took, as the gateway saw it."),
)
BOUNDS = (
    100, 160, 250, 400, 630, 1000, 1600, 2500, 4000, 6300, 10_000, 16_000, 25_000, 40_000, 63_000, 100_000, 160_000,
    250_000, 400_000, 630_000, 1_000_000, 1_600_000, 2_500_000, 4_000_000, 6_300_000, 10_000_000, 16_000_000,
    25_000_000, 40_000_000, 63_000_000,
)  # fmt: skip
"""µs: every second bound of the roll-up's buckets."""
COLUMNS = {
    "edge": "toString(Edge)",
    "service": "toString(Service)",
    "route": "toString(Route)",
    "instance": "toString(Instance)",
    "caller": "toString(Caller)",
    "fallback": "toString(Fallback)",
    "method": "toString(Method)",
    "code": "if(Status = 0, '', toString(Status))",
}


async def select(
    pool: Reader, matchers: Sequence[Matcher], start_ms: int, end_ms: int, *, limits: Limits = LIMITS
) -> list[SeriesSamples]:
    """As `storage.select`, of the request series; in no order.

    Raises:
        InvalidValue, LimitReached: as `storage.select`.
    """
    names = wanted(matchers)
    les = [matcher for matcher in matchers if matcher.name == "le"]
    bounds = tuple(bound for bound in (*BOUNDS, 0) if all(matcher.takes(le_of(bound)) for matcher in les))
    names = [name for name in names if name == BUCKET or all(matcher.takes_empty for matcher in les)]
    if not names or end_ms < start_ms:
        return []
    bounds = bounds if BUCKET in names else ()
    rows = await _rows(pool, matchers, start_ms, end_ms, bounds, limits)
    width = len(names) - (BUCKET in names) + len(bounds)
    answer: list[SeriesSamples] = []
    samples = 0
    for labels, counted in _groups(rows, len(bounds)):
        times = instants(counted.ends, start_ms, end_ms)
        samples += len(times) * width
        if samples > SAMPLES_LIMIT or len(answer) > SERIES_LIMIT:
            raise LimitReached("too many request series or samples", hint="ask for a shorter time, or add a matcher")
        if not len(times):
            continue
        columns: list[tuple[str, str, Values]] = [
            *((name, "", counted.requests) for name in names if name in (TOTAL, COUNT)),
            *((name, "", counted.seconds) for name in names if name == SUM),
            *((BUCKET, le_of(bound), counted.below[:, index]) for index, bound in enumerate(bounds)),
        ]
        for name, le, added in columns:
            values = totals(counted.ends, added, times, end_ms)
            answer.append(SeriesSamples(labels_of({**labels, NAME: name, "le": le}), times, values))
    return answer


def wanted(matchers: Sequence[Matcher]) -> list[str]:
    """The names of request series that can match, judging by name and by labels that these never have."""
    others = [matcher for matcher in matchers if matcher.name not in {*COLUMNS, NAME, "le"}]
    if not all(matcher.takes_empty for matcher in others):
        return []
    return [name for name in NAMES if all(matcher.takes(name) for matcher in matchers if matcher.name == NAME)]


async def label_values(pool: Reader, name: str, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[str]:
    """The values that a label of request series had between two times; in no order.

    Raises:
        InvalidValue, LimitReached: as `storage.select`.
    """
    names = wanted([matcher for matcher in matchers if matcher.name != "le"])
    if not names or name not in {NAME, "le", *COLUMNS}:
        return []
    clause, parameters = _clause(matchers, start_ms, end_ms)
    column = COLUMNS.get(name, "'any'")
    found = await pool.rows(f"SELECT DISTINCT {column} AS word FROM requests WHERE {clause} LIMIT 10000", parameters)  # noqa: S608 - our words
    words = [row["word"] for row in found if row["word"]]
    if name == NAME:
        return names if words else []
    return [le_of(bound) for bound in (*BOUNDS, 0)] if name == "le" and words and BUCKET in names else words


def le_of(bound: int) -> str:
    """A bound in µs (0: none) as text of the label."""
    return "+Inf" if bound == 0 else str(np.format_float_positional(bound / 1e6, trim="-"))


def _clause(matchers: Sequence[Matcher], since_ms: int, end_ms: int) -> tuple[str, dict[str, Any]]:
    clause, parameters = where([matcher for matcher in matchers if matcher.name in COLUMNS], COLUMNS)
    span = {"since": max(0, since_ms) // 1000, "until": max(0, end_ms) // 1000}
    # Ten seconds that are not over at the end count only when they are not over now: then there is no later end for them.
    over = "(Time + 10 <= {until:Int64} OR (Time < {until:Int64} AND Time + 10 > now() - 5))"
    return f"{clause} AND Time >= {{since:Int64}} AND {over}", {**parameters, **span}


async def _rows(
    pool: Reader, matchers: Sequence[Matcher], start_ms: int, end_ms: int, bounds: Sequence[int], limits: Limits
) -> Any:
    """Sums of ten seconds of each kind of request; those before `start_ms` in one row for each day."""
    clause, parameters = _clause(matchers, first_needed(start_ms), end_ms)
    labels = ", ".join(f"{column} AS {name}" for name, column in COLUMNS.items())
    below = (
        "arrayMap(b -> toFloat64(if(b = 0, sum(Count), "
        "arraySum(arrayMap((low, count) -> if(low < b, count, 0), mapKeys(spread), mapValues(spread))))), "
        "{bounds:Array(UInt32)}) AS below, sumMap(Buckets) AS spread, "
        if bounds
        else ""
    )
    names = ", ".join(COLUMNS)
    sql = (
        f"SELECT {labels}, cityHash64({names}) AS kind, {below}"  # noqa: S608 - our words
        "toInt64(toUnixTimestamp(max(Time))) * 1000 AS begun, toFloat64(sum(Count)) AS requests, "
        f"sum(DurationSum) / 1e6 AS seconds FROM requests WHERE {clause} "
        f"GROUP BY {names}, toDate(Time), greatest(toInt64(toUnixTimestamp(Time)), {{before:Int64}}) "
        "ORDER BY kind, begun"
    )
    before = max(0, start_ms) // TEN * (TEN // 1000) - TEN // 1000
    return await pool.arrow(sql, {**parameters, "bounds": list(bounds), "before": before}, limits=limits)


def _groups(rows: Any, bounds: int) -> Iterator[tuple[dict[str, str], Counted]]:
    """The rows of each kind of request."""
    if not rows.num_rows:
        return
    kinds = rows["kind"].to_numpy()
    cuts = [0, *(np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist(), len(kinds)]
    ends = rows["begun"].to_numpy() + TEN
    requests, seconds = rows["requests"].to_numpy(), rows["seconds"].to_numpy()
    below = np.zeros((len(kinds), 0))
    if bounds:
        below = rows["below"].combine_chunks().flatten().to_numpy().reshape(-1, bounds)
    for begin, end in pairwise(cuts):
        labels = {name: rows[name][begin].as_py() for name in COLUMNS}
        yield labels, Counted(ends[begin:end], requests[begin:end], seconds[begin:end], below[begin:end])
