"""Does a number grow with time? The slope within lives of processes, and how sure it is. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Points = Sequence[tuple[float, float]]
"""(seconds, number) of one life of one process, in order."""
WARM_UP = 120.0
"""Seconds of each life that are left out at least: caches fill, the allocator takes what it needs."""
SHARE = 0.2
"""Of each life, left out: Python takes memory in arenas of 1 MiB, and a new one whenever more happens at once than ever
before. In a life of hours that is seldom after its first part; ten minutes may hold one, which looks like 6 MiB an hour."""
SURE = 3.0
"""Standard errors that make a growth sure. Samples 5 s apart are alike, so the error is told too small."""
LEAST = 5
"""Points below which a life says nothing."""


class Slope(NamedTuple):
    """Growth per hour, and its standard error; `points` it was made of (none: nothing is known)."""

    per_hour: float
    error: float
    points: int

    def verdict(self, limit: float) -> str:
        """`flat`, `grows`, or `undecided` when the run was too short to tell; of a growth of `limit` per hour."""
        if not self.points or (self.per_hour > limit and self.per_hour - SURE * self.error <= limit):
            return "undecided"
        return "grows" if self.per_hour > limit else "flat"


def slope(lives: Mapping[Any, Points], *, warm_up: float = WARM_UP, step: float = 0.0) -> Slope:
    """The common slope of all lives, each with a level of its own (a restart is no growth and hides none).

    `step`: what the number moves by at least (an allocator asks for 128 KiB at a time). One such step looks like a slope
    of one and a half steps over the time that was watched, so that much is never sure.
    """
    centred: list[tuple[float, float]] = []
    kept = 0
    for points in lives.values():
        left_out = max(warm_up, SHARE * (points[-1][0] - points[0][0]))
        late = [(at, number) for at, number in points if at - points[0][0] >= left_out]
        if len(late) < LEAST:
            continue
        kept += 1
        mean_at = sum(at for at, _ in late) / len(late)
        mean = sum(number for _, number in late) / len(late)
        centred += [(at - mean_at, number - mean) for at, number in late]
    spread = sum(at * at for at, _ in centred)
    if not spread:
        return Slope(0.0, 0.0, 0)
    rise = sum(at * number for at, number in centred) / spread
    rest = sum((number - rise * at) ** 2 for at, number in centred)
    watched = math.sqrt(12 * spread / len(centred) * kept)  # seconds, of lives of equal length
    error = math.hypot(math.sqrt(rest / max(1, len(centred) - kept - 1) / spread), 1.5 * step / watched)
    return Slope(rise * 3600, error * 3600, len(centred))
