"""The causes that somebody asked for: injected faults. Pure. They come first: what they explain needs no other reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

from atoll.cli.numbers import took
from atoll.cli.why.evidence import Case, Hop, Verdict
from atoll.errors import Origin
from atoll.kit.text import scrub

WEIGHT = 100
_MARK = re.compile(r"(?:^|,)fault-(delay|abort|drop):([a-z0-9._-]+)")
_DID = {
    "abort": "made the gateway answer {status} to {what}, in place of {service}",
    "drop": "made the gateway drop {what} without an answer",
    "delay": "held {what} up on its way to {service} ({time} in all)",
}


def injected(case: Case) -> Iterator[Verdict]:
    """A cause for each request of the case that an injected fault struck."""
    for hop in case.hops:
        found = _MARK.search(hop.mark)
        if found is not None:
            yield _verdict(hop, found[1], found[2])


def _verdict(hop: Hop, kind: str, name: str) -> Verdict:
    did = _DID[kind].format(
        status=hop.status,
        what=scrub(f"{hop.method} {hop.path}".strip(), limit=160) or "the request",
        service=hop.service or "the service",
        time=took(hop.took_ms),
    )
    return Verdict(
        code="fault-injected",
        weight=WEIGHT,
        origin=str(Origin.GATEWAY),
        cause=f"an injected fault ({name}) {did}",
        next=("atoll fault list", f"atoll fault clear {name}"),
    )
