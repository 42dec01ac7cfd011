"""The histogram buckets of the request roll-up, and quantiles out of them.

Ten to a decade, from 100 µs to 100 s, at round numbers, so that usual bounds (5 ms, 0.25 s, 1 s) are among them. A
bucket is named for its lower bound in µs and has what took longer than that, up to and with the next bound. What SQL
does with them is in schema/requests.sql; the bounds are written there again, for a released schema does not change.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping

_DECADE = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)

BOUNDS: tuple[int, ...] = (0, *(round(10**power * part) for power in range(2, 8) for part in _DECADE), 10**8)
"""Lower bounds, µs, ascending. The last bucket has no end."""


def upper(lower: int) -> float:
    """Where the bucket at `lower` ends, µs; infinity for the last."""
    at = bisect.bisect_right(BOUNDS, lower)
    return float(BOUNDS[at]) if at < len(BOUNDS) else float("inf")


def cumulative(buckets: Mapping[int, int]) -> list[tuple[float, int]]:
    """Requests that took at most so many seconds, for every bound, as Prometheus counts them (`le`, +Inf last)."""
    counts = itertools.accumulate(buckets.get(lower, 0) for lower in BOUNDS)
    return [(upper(lower) / 1e6, count) for lower, count in zip(BOUNDS, counts, strict=True)]


def quantile(buckets: Mapping[int, int], share: float) -> float:
    """The time in µs that this share of requests took at most, interpolated in its bucket (some 5 % off); 0.0 of none.

    In the last bucket, which has no end, its lower bound.
    """
    total = sum(buckets.values())
    wanted = share * total
    below = 0
    for lower in sorted(lower for lower, count in buckets.items() if count):
        if below + buckets[lower] >= wanted:
            end = upper(lower)
            within = (wanted - below) / buckets[lower]
            return lower + (end - lower) * within if end != float("inf") else float(lower)
        below += buckets[lower]
    return 0.0
