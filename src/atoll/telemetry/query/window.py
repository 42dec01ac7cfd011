"""The stretch of time that figures are about, out of the parameters, and its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from atoll.telemetry.query.parameters import NANO, Parameters, refusal
from atoll.telemetry.query.waterfall import iso

HOUR = 3600.0
LONGEST = 31 * 24 * HOUR
"""Seconds of one question at most."""
STEPS = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
"""Seconds of a step; the roll-up of requests has ten."""
POINTS = 60
"""Steps that are aimed at when nothing is said."""
MOST_POINTS = 1500


@dataclass(frozen=True)
class Window:
    """From `since` to `until`, which is excluded, in nanoseconds since 1970."""

    since: int
    until: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.until - self.since) / NANO

    @property
    def parameters(self) -> dict[str, int]:
        """For a statement with WINDOW of spans, or ROLLED of the roll-up."""
        return {"from": self.since, "to": self.until}

    def words(self) -> dict[str, str]:
        """Its ends as text."""
        return {"since": iso(self.since), "until": iso(self.until)}


ROLLED = "Time >= toDateTime(intDiv({from:Int64}, 1000000000), 'UTC') AND Time < toDateTime(intDiv({to:Int64}, 1000000000), 'UTC')"
"""The time of a row of the request roll-up."""


def read_window(said: Parameters, wall: float, *, default: float = HOUR) -> Window:
    """`since` and `until`; the last `default` seconds when nothing is said.

    Raises:
        InvalidValue: they cannot be used.
    """
    until = said.moment("until", wall)
    since = said.moment("since", max(0.0, until - default))
    if since >= until:
        raise refusal("since", "is not before until", "ask for an earlier since")
    if until - since > LONGEST:
        raise refusal("since", f"is more than {LONGEST / 86400:g} days before until", "ask for less time")
    return Window(int(since * NANO), int(until * NANO))


def read_step(said: Parameters, window: Window) -> int:
    """`step` in seconds; without one, some sixty of them.

    Raises:
        InvalidValue: it is too small for the window, or no number.
    """
    step = said.number("step", least=STEPS[0])
    if step is None:
        return next((one for one in STEPS if window.seconds / one <= POINTS), STEPS[-1])
    if window.seconds / step > MOST_POINTS:
        least = math.ceil(window.seconds / MOST_POINTS)
        raise refusal("step", f"makes more than {MOST_POINTS} points", f"say {least} or more")
    return math.ceil(min(step, LONGEST))
