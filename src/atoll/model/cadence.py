"""How a health check is paced, so that an instance that stands still is out within `fall` × `interval`.

Pure. HAProxy counts an interval from the end of the check before, so the worst that can happen is: the instance stops right after it
passed; an interval later the first check begins and is not answered; each further one begins `again` after the one before was given
up. Who says a time-out keeps it, and waits for it that much longer; who says none gets the longest that fits, at most a second.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from atoll.model.service import Check

SPREAD = 5
"""Percent by which HAProxy moves each pause between checks, so that not all instances are asked at once."""
PROMPT = 0.98
"""Of `fall` × `interval` what checks may take; the rest is for timers that fire late and a process that has to be scheduled."""
PATIENCE = 1.0
"""Seconds a check waits for an answer at most, where nobody says more. Longer ones help nobody: requests wait as well."""
AGAIN = 0.2
"""Seconds, at most, between checks of an instance about which there is doubt; of short intervals a tenth."""
STEP = 100
"""Time-outs are whole hundredths of a second."""


class Cadence(NamedTuple):
    """Seconds, all of them."""

    every: float
    """From the end of a check that agreed with what was believed to the next. The interval said; less with `fall: 1`."""
    again: float
    """From the end of one that did not to the next."""
    patience: float
    """How long an answer may take."""


def cadence(check: Check) -> Cadence:
    """The pace of `check`, whose numbers are within their limits."""
    again = min(AGAIN, check.interval / 10)
    if check.timeout is not None:
        return Cadence(check.interval, again, check.timeout)
    whole = PROMPT * check.fall * check.interval
    if check.fall == 1:  # one failure decides: the answer has to be waited for within the interval itself
        patience = _down(min(PATIENCE, whole - _spread(check.interval / 2)))
        return Cadence(min(check.interval, (whole - patience) / _spread(1.0)), again, patience)
    pauses = _spread(check.interval + (check.fall - 1) * again)
    return Cadence(check.interval, again, _down(min(PATIENCE, (whole - pauses) / check.fall)))


def out_within(check: Check) -> float:
    """Seconds until an instance that stands still is out, at worst; a machine too busy to run HAProxy comes on top.

    At most `fall` × `interval` where no time-out is said.
    """
    pace = cadence(check)
    return _spread(pace.every + (check.fall - 1) * pace.again) + check.fall * pace.patience


def _spread(seconds: float) -> float:
    return seconds * (1 + SPREAD / 100)


def _down(seconds: float) -> float:
    return math.floor(seconds * STEP + 1e-6) / STEP
