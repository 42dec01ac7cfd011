"""It was taken, and not answered: hung up, late, or nobody waited any more. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from atoll.cli.why.answered import slowest
from atoll.cli.why.evidence import BEFORE, DURING, Case, Hop, Verdict
from atoll.cli.why.words import duration, last_words, longest, look, request_of, verdict, whom
from atoll.errors import Origin
from atoll.model.answers import Verb


def hung_up(case: Case, hop: Hop) -> Iterable[Verdict]:
    """The connection to the instance ended."""
    died = [one for one in case.ends if one.instance == hop.instance and hop.at - 0.1 <= one.at <= hop.end + DURING]
    when = "in the middle of its answer" if hop.termination == "SD" else "while it worked on the request"
    if died:
        yield verdict(
            hop, "dead-instance", 96, Origin.SERVICE,
            f"{whom(hop)} died {when}: {died[0].words}{last_words(case, hop.service)}",
            *look(hop.service),
        )  # fmt: skip
    if hop.termination == "PH":
        yield verdict(
            hop,
            "upstream-answer",
            85,
            Origin.SERVICE,
            f"what {whom(hop)} answered is not valid HTTP",
            f"atoll logs {hop.service}",
        )
    else:
        hung = (
            "broke off in the middle of its answer"
            if hop.termination == "SD"
            else "closed the connection without an answer"
        )
        yield verdict(
            hop,
            "upstream-answer",
            85,
            Origin.SERVICE,
            f"{whom(hop)} {hung}; its process lived on",
            f"atoll logs {hop.service}",
            "does it close connections that are kept alive too early?",
        )


def timed_out(case: Case, hop: Hop) -> Verdict:
    """No answer in time, and what it was waiting for."""
    slow = slowest(case, hop)
    waited = f"; it waited for {whom(slow)} ({duration(slow)}, {request_of(slow)})" if slow is not hop else ""
    silent = "went silent in the middle of its answer" if hop.termination == "sD" else "did not answer"
    asleep = [
        one
        for one in case.records
        if one.instance == hop.instance and one.verb is Verb.FAILING and abs(one.at - hop.end) < BEFORE
    ]
    stuck = f"; its check failed as well ({asleep[-1].cause})" if asleep and not waited else ""
    return verdict(
        hop, "upstream-timeout", 90, Origin.TIMEOUT, f"{whom(hop)} {silent} within {duration(hop)}{waited}{stuck}",
        f"atoll traces {case.trace}", f"atoll red {slow.service}",
        f"if that long is right, raise the timeout of {'route ' + hop.route if hop.route else hop.service}",
    )  # fmt: skip


def expired(case: Case, hop: Hop) -> Verdict:
    """It came too late to be sent on; the time went to what was asked before."""
    outer = next((one for one in case.hops if hop.above and one.id == hop.above[-1]), None)
    caller = outer.service if outer is not None and outer.service else "its caller"
    before = [one for one in case.hops if one.above == hop.above and one.id != hop.id and one.at < hop.at]
    slow = max(before, key=lambda one: one.took_ms, default=None)
    spent = f"; {duration(slow)} of it had gone to {whom(slow)} ({request_of(slow)})" if slow is not None else ""
    return verdict(
        hop, "deadline-exceeded", 92, Origin.TIMEOUT,
        f"the time that {caller} had was over when it asked {hop.service}, so that was not sent on{spent}",
        f"atoll traces {case.trace}", f"atoll explain {hop.service}",
    )  # fmt: skip


def left(case: Case, hop: Hop) -> Verdict:
    """Its caller did not wait."""
    if hop.above:
        outer = next((one for one in case.hops if one.id == hop.above[-1]), None)
        caller = outer.service if outer is not None and outer.service else "its caller"
        return verdict(
            hop, "gave-up", 88, Origin.TIMEOUT,
            f"{caller} gave up waiting for {whom(hop)} after {duration(hop)} ({request_of(hop)})",
            f"atoll logs {hop.service} --since 10m", f"atoll red {hop.service}",
        )  # fmt: skip
    return verdict(
        hop,
        "client-left",
        85,
        Origin.CLIENT,
        f"the client left after {duration(hop)}, before {whom(hop)} had answered{longest(case)}",
        f"atoll traces {case.trace}",
    )
