"""The cause that a drill is: somebody broke the service on purpose at that moment (see docs/drills.md). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.cli.why.evidence import Case, Hop, Verdict
from atoll.errors import Origin
from atoll.kit.text import scrub
from atoll.model.answers import Record, Verb

WEIGHT = 99
"""Below an injected fault, which says exactly what it did to this request."""
LASTS = 60.0
"""Seconds after its beginning in which a drill may have to do with what happens; none is longer."""
ENDED = " ended"
"""In the words of the record of an end: `drill ended: …`."""


def drilled(case: Case, hop: Hop | None) -> Iterator[Verdict]:
    """A cause for a request that failed while a drill was breaking its service."""
    if hop is None or not (hop.broken or hop.refused):
        return
    told = [one for one in case.records if one.verb is Verb.DRILL and one.service == hop.service]
    begun = [one for one in told if not _ends(one) and hop.end - LASTS <= one.at <= hop.end]
    if not begun:
        return
    last = begun[-1]
    if any(_ends(one) and last.at < one.at < hop.at for one in told):
        return
    who = ", ".join(dict.fromkeys(one.instance for one in begun if one.at >= last.at - 1))
    yield Verdict(
        code="drill",
        weight=WEIGHT,
        origin=str(Origin.SERVICE),
        cause=f"somebody broke {who} of {hop.service} on purpose: {scrub(last.cause, limit=120)}",
        next=("atoll drill list", f"atoll service history {hop.service}"),
    )


def _ends(record: Record) -> bool:
    return ENDED in record.cause[:20]
