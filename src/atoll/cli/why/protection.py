"""What was kept from a service on purpose: its circuit breaker was open. Pure."""

from __future__ import annotations

from atoll.cli.numbers import age
from atoll.cli.why.evidence import Case, Hop, Verdict
from atoll.errors import Origin
from atoll.kit.text import scrub
from atoll.model.breaker import BreakerState

OPEN, FORCED = "open", "forced"
"""Marks of the request log."""


def turned_away(case: Case, hop: Hop) -> Verdict:
    """Why the breaker let nobody through."""
    word = case.words.get(hop.service)
    seen = [one for one in case.breakers if one.service == hop.service and one.since <= hop.end]
    said = next((one for one in seen if one.state is not BreakerState.CLOSED), next(iter(seen), None))
    if hop.mark == FORCED:
        told = (
            f": {scrub(word.reason, limit=160)}" if word is not None and word.since <= hop.end and word.reason else ""
        )
        cause = f"an operator had forced the circuit breaker of {hop.service} open{told}"
        following = (f'atoll breakers reset {hop.service} --reason "…"', "atoll breakers")
    else:
        cause = f"the circuit breaker of {hop.service} was open"
        if said is not None and said.state is not BreakerState.CLOSED and said.since:
            cause += (
                f": {said.failures} of {said.requests} requests had failed {age(max(0.0, hop.at - said.since))} before"
            )
        following = ("atoll breakers", f"atoll traces --service {hop.service} --status error")
    return Verdict(code="breaker-open", weight=95, origin=Origin.BREAKER, cause=cause, next=following)
