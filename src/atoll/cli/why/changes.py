"""What somebody changed just before it failed. Pure.

A change is blamed when it lies shortly before the request and could have had this effect: how instances are run or
checked for those that die or fail, a timeout for one that was missed.
"""

from __future__ import annotations

from atoll.cli.numbers import age
from atoll.cli.why.evidence import Case, Hop, Verdict
from atoll.model.answers import Record, Verb

RECENT = 120.0
"""Seconds."""
EFFECTS: dict[str, tuple[str, ...]] = {
    "crash-loop": ("run.",),
    "dead-instance": ("run.",),
    "failing": ("run.", "check.", "protocol"),
    "no-instance": ("run.", "check.", "protocol"),
    "upstream-unreachable": ("run.", "check.", "protocol", "connect"),
    "upstream-answer": ("run.", "protocol"),
    "service-error": ("run.",),
    "upstream-timeout": ("timeout", "run."),
    "stopped": (),
}
"""Codes, and words of the fields that lead to them."""


def blamed(case: Case, hop: Hop, found: Verdict) -> Verdict:
    """`found`, with the change that fits as its cause."""
    change = _last(case, hop, EFFECTS.get(found.code, ()))
    if change is None:
        return found
    since = age(max(0.0, hop.at - change.at))
    return Verdict(
        code="bad-change",
        weight=min(100, found.weight + 4),
        origin=found.origin,
        cause=f"{found.cause}; {since} after {hop.service} was changed: {change.cause}",
        next=("take the change back (`atoll plan`, then `atoll apply`)", *found.next),
    )


def _last(case: Case, hop: Hop, words: tuple[str, ...]) -> Record | None:
    fitting = [
        one
        for one in case.records
        if one.verb is Verb.DEFINED
        and one.service == hop.service
        and hop.at - RECENT <= one.at <= hop.at
        and any(word in one.cause for word in words)
    ]
    return fitting[-1] if fitting else None
