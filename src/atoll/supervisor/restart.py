"""Whether and when an ended child is started again. Pure: time and randomness are arguments.

An end is unexpected unless the operator asked for it. Delays double from `restart_base` to `restart_cap`. `intensity`
unexpected ends within `intensity_window` seconds are a crash loop: still retried, at the longest delay,
until one run lasts a whole window. A run that long also makes the next delay the shortest again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from atoll.model.report import Phase
from atoll.model.service import Restart
from atoll.settings import Supervisor as Limits

SPREAD = 0.2
"""Delays vary by this share, so that instances that fell together do not rise together."""


@dataclass(frozen=True)
class History:
    """What is remembered of an instance's unexpected ends; times on the monotonic clock."""

    total: int = 0
    tries: int = 0
    """Unexpected ends in a row, no stable run between."""
    recent: tuple[float, ...] = ()
    looping: bool = False


@dataclass(frozen=True)
class Verdict:
    """What follows an end: the phase it enters, and the delay in seconds if it is started again."""

    phase: Phase
    history: History
    delay: float | None = None


def after_end(
    history: History, policy: Restart, code: int | None, *, now: float, ran: float, limits: Limits, rng: random.Random
) -> Verdict:
    """Decide after an end nobody asked for: exit `code` (None: it never started, or nobody saw), `ran` seconds long."""
    if policy is Restart.NO or (policy is Restart.ON_FAILURE and code == 0):
        return Verdict(Phase.EXITED, history)
    if ran >= limits.intensity_window:
        history = replace(history, tries=0, recent=(), looping=False)
    recent = (*(at for at in history.recent if now - at < limits.intensity_window), now)[-limits.intensity :]
    looping = history.looping or len(recent) >= limits.intensity
    history = History(history.total + 1, history.tries + 1, recent, looping)
    if looping:
        return Verdict(Phase.CRASH_LOOP, history, _spread(limits.restart_cap, limits, rng))
    delay = min(limits.restart_cap, limits.restart_base * 2 ** min(history.tries - 1, 32))
    return Verdict(Phase.BACKOFF, history, _spread(delay, limits, rng))


def _spread(delay: float, limits: Limits, rng: random.Random) -> float:
    return min(limits.restart_cap, delay * rng.uniform(1 - SPREAD, 1 + SPREAD))
