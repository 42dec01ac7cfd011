"""Evidence into causes. Pure.

The innermost failure is the cause of those around it: a gateway's 502 for a service whose own call found nobody is
about the service that was not there. So the rules look at one hop, `focus`; what surrounds it is told along with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from atoll.cli.why import protection
from atoll.cli.why.answered import GRAVE, own_error, own_refusal, succeeded
from atoll.cli.why.changes import blamed
from atoll.cli.why.drilled import drilled
from atoll.cli.why.evidence import Case, Hop, Verdict
from atoll.cli.why.injected import injected
from atoll.cli.why.limited import MARKS, limited
from atoll.cli.why.nobody import nobody
from atoll.cli.why.refused import CLOSED, closed, limit, refused
from atoll.cli.why.unanswered import expired, hung_up, left, timed_out
from atoll.cli.why.words import duration, longest, quote, verdict, weaker, whom
from atoll.errors import Origin
from atoll.gateway.deadline import EXPIRED


def judge(case: Case) -> list[Verdict]:
    """The causes that fit, the likeliest first; at least one."""
    hop = focus(case.hops)
    if hop is None:
        found = [_no_request(case)]
    else:
        found = [blamed(case, hop, one) for one in _of_hop(case, hop)]
        outer = case.hops[0]
        if outer.status < 400 and not outer.broken and not outer.left:
            found = [succeeded(case, outer), *(weaker(one) for one in found if one.code not in {"ok", "slow"})]
    return sorted([*injected(case), *drilled(case, hop), *found], key=lambda one: -one.weight)


def focus(hops: Sequence[Hop]) -> Hop | None:
    """The hop that the others failed for: the innermost one that broke, the last of them; else the outermost."""
    if not hops:
        return None
    broke = [hop for hop in hops if hop.broken or (hop.left and hop.above) or (hop.refused and hop.status >= 400)]
    inner = {identity for hop in broke for identity in hop.above}
    leaves = [hop for hop in broke if hop.id not in inner]
    return max(leaves, key=lambda hop: (hop.broken, len(hop.above), hop.at)) if leaves else hops[0]


def _of_hop(case: Case, hop: Hop) -> Iterable[Verdict]:
    if hop.mark == CLOSED:
        yield closed(case, hop)
    elif hop.mark in {protection.OPEN, protection.FORCED}:
        yield protection.turned_away(case, hop)
    elif hop.mark in MARKS or hop.termination[1:] == "Q":
        yield limited(hop)
    elif hop.mark == EXPIRED:
        yield expired(case, hop)
    elif hop.refused:
        yield refused(case, hop)
    elif hop.termination in {"cR", "CR"} or hop.status == 408:
        yield verdict(
            hop,
            "request-timeout",
            90,
            Origin.TIMEOUT,
            f"the client did not send its whole request in {duration(hop)}",
            "look at the client and the network to it",
        )
    elif hop.status == 429 or hop.status == 413:
        yield limit(hop)
    elif hop.termination in {"SC", "sC"}:
        yield from nobody(case, hop)
    elif hop.termination in {"SH", "SD", "PH"}:
        yield from hung_up(case, hop)
    elif hop.termination in {"sH", "sD"}:
        yield timed_out(case, hop)
    elif hop.left:
        yield left(case, hop)
    elif hop.status >= 500:
        yield own_error(case, hop)
    elif hop.status >= 400:
        yield own_refusal(hop)
    elif hop.broken:
        yield verdict(
            hop,
            "broken-off",
            60,
            Origin.GATEWAY,
            f"the answer of {whom(hop)} broke off ({hop.termination})",
            "atoll doctor",
        )
    else:
        yield succeeded(case, hop)


def _no_request(case: Case) -> Verdict:
    grave = next((one for one in case.said if one.level.lower() in GRAVE), None)
    words = f"no request through gateway or mesh is in this trace{longest(case)}" + (
        f"; {grave.service} said: {quote(grave)}" if grave else ""
    )
    return Verdict(code="no-request", weight=40, origin="", cause=words, next=(f"atoll traces {case.trace}",))
