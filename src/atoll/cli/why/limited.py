"""What was refused because there was too much at once. Pure."""

from __future__ import annotations

from atoll.cli.numbers import took
from atoll.cli.why.evidence import Hop, Verdict
from atoll.errors import Origin
from atoll.gateway.limits import BUSY, FULL

MARKS = frozenset({BUSY, FULL})


def limited(hop: Hop) -> Verdict:
    """Which limit it was: of requests under way, of the queue's size, or of the time in it."""
    more = f"give it more room: atoll scale {hop.service}=N"
    if hop.mark == BUSY:
        whose = f"the calls of route {hop.route} or of {hop.service}" if hop.route else hop.service
        code, cause = "too-busy", f"as many requests were under way as max_concurrency of {whose} lets through"
    elif hop.mark == FULL:
        code, cause = (
            "queue-full",
            f"every instance of {hop.service} had as many requests as it takes and its queue was full",
        )
    else:
        code, cause = "queue-timeout", f"no instance of {hop.service} had room within {took(hop.took_ms)}"
    following = (f"atoll explain {hop.service}", f"atoll red {hop.service}", more)
    return Verdict(code=code, weight=95, origin=Origin.LIMIT, cause=cause, next=following)
