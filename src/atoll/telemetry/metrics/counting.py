"""From what was added in each ten seconds to a counter's samples. Pure.

The counter begins anew at each midnight (UTC), and a zero one millisecond later says so: whatever comes after, no
increase is lost or counted twice. Samples stand at the ends of the ten seconds, and one at the end of what was asked
for, so that the newest figures are there at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atoll.telemetry.metrics.series import Milliseconds, Values

TEN = 10_000
"""Milliseconds of one row."""
DAY = 86_400_000
LONG = DAY
"""Milliseconds; of a longer time there is a sample a minute."""
MINUTE = 60_000
IDLE = 3_600_000
"""Milliseconds after its last request in which a series goes on."""


@dataclass(frozen=True)
class Counted:
    """One kind of request: what was added, in order of time. `ends`: of the rows, in milliseconds."""

    ends: Milliseconds
    requests: Values
    seconds: Values
    below: npt.NDArray[np.float64]
    """A column for each bound: requests that took at most so long."""


def floor_day(at: int) -> int:
    """The midnight before, or at, `at`."""
    return at // DAY * DAY


def first_needed(start: int) -> int:
    """From when on rows are needed for samples from `start` on."""
    return floor_day(start - IDLE)


def instants(ends: Milliseconds, start: int, end: int) -> Milliseconds:
    """When a series with these rows has samples, from `start` to `end`."""
    step = TEN if end - start <= LONG else MINUTE
    first = int(ends[0])
    grid = np.arange(-(-max(start, first - TEN) // step) * step, end + 1, step, dtype=np.int64)
    midnights = np.arange(-(-start // DAY) * DAY, end, DAY, dtype=np.int64)
    extra = [first - TEN, end, *midnights, *(midnights + 1)]
    times = np.unique(np.concatenate([grid, np.array(extra, np.int64)]))
    times = times[(times >= max(start, first - TEN)) & (times <= end)]
    last = np.searchsorted(ends, times, "right") - 1
    # A row that is not over yet counts at the end of what is asked for.
    alive = np.where(last >= 0, times - ends[np.maximum(last, 0)] <= IDLE, True)
    return times[alive]


def totals(ends: Milliseconds, added: Values, times: Milliseconds, end: int) -> Values:
    """What had been counted at `times`, since midnight."""
    running = np.concatenate([[0.0], np.cumsum(added)])
    known = np.minimum(ends, end)

    def counted(at: Milliseconds) -> Values:
        return running[np.searchsorted(known, at, "right")]

    midnight = (times - 1) // DAY * DAY
    # A row ends after its midnight, so what ended at midnight belongs to the day before.
    difference: Values = counted(times) - counted(midnight)
    return difference
