"""When a reload may be. Pure.

Two reloads keep a distance, since each leaves an old worker behind as long as its longest request lives. A process
younger than the initial resync of its stick tables hands none of them over, so it is left alone, unless somebody cannot
be reached without the reload: then losing a few seconds of counted requests is the smaller harm.
"""

from __future__ import annotations

from atoll.kit.clock import Instant
from atoll.settings import Gateway


def reload_wait(now: Instant, *, last: Instant | None, worker_since: Instant, urgent: bool, knobs: Gateway) -> float:
    """Seconds until a reload may be; 0: now. `last` is the last reload, `worker_since` the current worker's start."""
    moments = [] if last is None else [last + knobs.reload_interval]
    if not urgent:
        moments.append(worker_since + knobs.reload_after_start)
    return max(0.0, *(moment - now for moment in moments)) if moments else 0.0
