"""What a look at HAProxy saw that others wait for: who is up, which breakers are open, where requests go instead. Pure.

Counters are no part of it: they differ with every look.
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.model.report import BreakerReport, FailoverReport, ServerReport

Sight = tuple[tuple[object, ...], ...]


def sight(
    servers: Iterable[ServerReport], breakers: Iterable[BreakerReport], failovers: Iterable[FailoverReport]
) -> Sight:
    """Equal for two looks when nothing of that changed between them."""
    return (
        tuple((each.service, each.instance, each.up, each.share) for each in servers),
        tuple((each.service, each.caller, each.state, each.forced, each.opened) for each in breakers),
        tuple((each.service, each.group, each.forced, each.troubles) for each in failovers),
    )
