"""The service answered by itself: its own errors and refusals, and how long it took. Pure."""

from __future__ import annotations

import re

from atoll.cli.numbers import took
from atoll.cli.why.evidence import Case, Hop, Verdict
from atoll.cli.why.words import SLOW_MS, duration, instead, quote, request_of, verdict, whom
from atoll.errors import Origin

ANSWERED = 0.05
"""Seconds after a hop's end in which a line may still be about it; what comes later is about the connection."""
MOST = 0.5
"""Share of the time that makes somebody the one who was waited for."""
_FULL = re.compile(
    r"No space left on device|ENOSPC|disk (?:is )?full|database or disk is full|Disk quota exceeded", re.IGNORECASE
)
_MEMORY = re.compile(r"MemoryError|OutOfMemory|out of memory|Cannot allocate memory|bad_alloc")
GRAVE = frozenset({"error", "fatal", "critical", "err", "exception", "panic"})


def own_error(case: Case, hop: Hop) -> Verdict:
    """A 5xx of its own, with the line that says why."""
    heard = [one for one in case.said if one.own and one.service == hop.service]
    grave = [one for one in heard if one.level.lower() in GRAVE]
    grave = [one for one in grave if one.at <= hop.end + ANSWERED] or grave
    every = [*grave, *(one for one in case.said if one.service == hop.service)]
    for pattern, code, words, remedy in (
        (_FULL, "disk-full", "its disk is full", "make room where it writes"),
        (_MEMORY, "out-of-memory", "it ran out of memory", "give it more memory, or find what takes it"),
    ):
        line = next((one for one in every if pattern.search(one.text)), None)
        if line is not None:
            return verdict(
                hop,
                code,
                95,
                Origin.SERVICE,
                f"{whom(hop)} answered {hop.status} because {words}: {quote(line)}",
                remedy,
                f"atoll logs {hop.service}",
            )
    quoted = f": {quote(grave[-1])}" if grave else ""
    return verdict(
        hop,
        "service-error",
        80,
        Origin.SERVICE,
        f"{whom(hop)} answered {hop.status} by itself{quoted}",
        f"atoll logs {hop.service} --trace {case.trace}",
        f"atoll traces {case.trace}",
    )


def own_refusal(hop: Hop) -> Verdict:
    """A 4xx of its own."""
    if hop.status in {401, 403}:
        code, words = "not-allowed", f"{whom(hop)} does not let this caller in ({hop.status})"
        advice = "send the credentials that the service asks for"
    else:
        code, words = "service-refused", f"{whom(hop)} answered {hop.status} to {request_of(hop)}"
        advice = f"the service says no to this request: atoll logs {hop.service}"
    return verdict(hop, code, 85, Origin.CLIENT, words, advice)


def succeeded(case: Case, hop: Hop) -> Verdict:
    """Nothing failed; where the time went, when it took long."""
    again = f", at attempt {hop.attempts}" + (" on another instance" if hop.moved else "") if hop.attempts > 1 else ""
    slow = slowest(case, hop)
    if hop.took_ms < SLOW_MS:
        words = f"nothing failed: {request_of(hop)} was answered {hop.status} by {whom(hop)} in {duration(hop)}{again}{instead(hop)}"
        return verdict(hop, "ok", 70, "", words)
    part = next((one for one in case.parts if one.service == slow.service), None)
    inside = f"; there, {took(part.ms)} in {part.name}" if part is not None and part.name != slow.method else ""
    return verdict(
        hop, "slow", 75, Origin.SERVICE,
        f"nothing failed, but it took {duration(hop)}: {duration(slow)} of it in {whom(slow)} ({slow.method} {slow.path}){inside}{again}{instead(hop)}",
        f"atoll traces {case.trace}", f"atoll red {slow.service}",
    )  # fmt: skip


def slowest(case: Case, hop: Hop) -> Hop:
    """The innermost hop that was waited for most of the time."""
    while True:
        inner = [one for one in case.hops if hop.id in one.above and one.took_ms >= MOST * hop.took_ms]
        if not inner:
            return hop
        hop = max(inner, key=lambda one: (-len(one.above), one.took_ms))
