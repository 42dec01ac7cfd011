"""How often a driver looks at its HAProxy, and how long it believes in one that says nothing."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.gateway.runtime import TIMEOUT


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """Not for users: what they see of it (healed within two seconds, hung for three) is promised. Times are seconds."""

    stats: float = 1.0
    """Between two looks at the servers' health and sessions."""
    unsettled: float = 0.2
    """The same, while instances are held out, and for seconds after something changed: whoever started it waits to see it."""
    quiet: float = 1.0
    """Between two looks at what HAProxy runs."""
    share: float = 0.03
    """Of the time that these looks may take; with tens of thousands of servers they get rarer."""
    answer: float = TIMEOUT
    """In which the runtime socket answers a question."""
    silence: float = 2.5
    """Of rounds without an answer after which HAProxy is taken for hung and replaced: three that timed out."""


USUAL = Rhythm()
