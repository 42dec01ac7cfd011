"""Limits of concurrency that follow measured latency: what two well known rules would say. Pure; for `adaptive_limit` only.

A look at an instance tells how many requests it had under way and how many it ended. By Little's law a request took
`under way × seconds / ended`. What one takes when nothing waits is the least that was ever seen; that is forgotten slowly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

TOLERATED = 1.25
"""Times the least latency."""
FORGOTTEN = 1.001
"""The least latency grows by that each look, so that one that is really slower is believed in the end (twice as much in eleven
minutes of one look a second)."""
USED = 0.8
"""Share of a limit that must be under way before a higher one is tried."""
CUT = 0.7
FEW = 3
"""Fewer ended requests say nothing."""
SMOOTH = 0.3
PATIENT = 1
"""Looks in which what was there before a cut ends."""
UNCHANGED = 0.9


@dataclass(frozen=True, kw_only=True)
class Look:
    """Of one instance, since the look before."""

    under_way: float
    """Requests, on average."""
    ended: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What is said to the proxy, and what it came from."""

    now: float
    least: float = math.inf
    """Seconds."""
    cut_at: float = 0.0
    """Seconds that requests took when it was last cut, while that is being looked at; 0: it is not."""
    held: int = 0
    """Looks since."""

    @property
    def said(self) -> int:
        """As a whole number of requests, at least one."""
        return max(1, round(self.now))


Rule = Callable[[Limit, Look, int], Limit]


def latency(look: Look) -> float | None:
    """Seconds that a request took; infinite when none ended though some were there; None: nothing can be said."""
    if look.ended < FEW:
        return math.inf if look.ended == 0 and look.under_way >= 1 else None
    return look.under_way * look.seconds / look.ended


def aimd(limit: Limit, look: Look, ceiling: int) -> Limit:
    """One more while it is used and nobody waits, three tenths less when requests take a quarter longer than they need."""
    took = latency(look)
    if took is None:
        return limit
    least = min(took, limit.least * FORGOTTEN)
    now = limit.now
    if took > TOLERATED * least:
        now = max(1.0, now * CUT)
    elif look.under_way >= USED * limit.said:
        now = min(float(ceiling), now + 1)
    return replace(limit, now=now, least=least)


def gradient(limit: Limit, look: Look, ceiling: int) -> Limit:
    """The limit times what latency should be of what it is, and room for the root of it to wait; in steps."""
    took = latency(look)
    if took is None or took <= 0:
        return limit
    least = min(took, limit.least * FORGOTTEN)
    slope = max(0.5, min(1.0, least / took))
    wanted = limit.now * slope + math.sqrt(limit.now)
    if wanted > limit.now and look.under_way < USED * limit.said:
        wanted = limit.now
    now = limit.now + SMOOTH * (wanted - limit.now)
    return replace(limit, now=max(1.0, min(float(ceiling), now)), least=least)


def asking(limit: Limit, look: Look, ceiling: int) -> Limit:
    """As `aimd`, but a cut is a question: when requests take as long as before with fewer of them there, they did not wait
    for each other. Then the cut is taken back, and what they take is believed.
    """
    took = latency(look)
    if took is None or math.isinf(took):
        return limit
    if limit.cut_at and limit.held < PATIENT:
        return replace(limit, held=limit.held + 1)
    if limit.cut_at and took > UNCHANGED * limit.cut_at:
        return Limit(now=min(float(ceiling), limit.now / CUT), least=took)
    known = replace(limit, cut_at=0.0, held=0)
    after = aimd(known, look, ceiling)
    return replace(after, cut_at=took) if after.now < limit.now else after


RULES: dict[str, Rule] = {"aimd": aimd, "gradient": gradient, "asking": asking}
