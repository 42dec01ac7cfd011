"""Evidence into causes. Pure.

The innermost failure is the cause of those around it: a gateway's 502 for a service whose own call found nobody is
about the service that was not there. So the rules look at one hop, `focus`; what surrounds it is told along with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from atoll.cli.numbers import took
from atoll.cli.why import protection
from atoll.cli.why.changes import blamed
from atoll.cli.why.drilled import drilled
from atoll.cli.why.evidence import Case, End, Hop, Said, Verdict
from atoll.cli.why.injected import injected
from atoll.cli.why.limited import MARKS, limited
from atoll.errors import Origin
from atoll.kit.text import scrub
from atoll.model.answers import Record, Verb
from atoll.model.report import Phase

BEFORE = 120.0
"""Seconds before a request in which ends of instances count as the reason that nobody was there."""
DURING = 2.0
"""Seconds around a hop in which an instance's end belongs to it: notes are stamped by another clock read."""
ANSWERED = 0.05
"""Seconds after a hop's end in which a line may still be about it; what comes later is about the connection."""
LOOP = 2
"""Unasked ends within BEFORE that make a crash loop."""
SLOW_MS = 100.0
"""From here on it is worth saying where the time went."""
MOST = 0.5
"""Share of the time that makes somebody the one who was waited for."""
QUOTED = 160
"""Characters of a line that a cause quotes."""

_FULL = re.compile(
    r"No space left on device|ENOSPC|disk (?:is )?full|database or disk is full|Disk quota exceeded", re.IGNORECASE
)
_MEMORY = re.compile(r"MemoryError|OutOfMemory|out of memory|Cannot allocate memory|bad_alloc")
GRAVE = frozenset({"error", "fatal", "critical", "err", "exception", "panic"})


def judge(case: Case) -> list[Verdict]:
    """The causes that fit, the likeliest first; at least one."""
    hop = focus(case.hops)
    if hop is None:
        found = [_no_request(case)]
    else:
        found = [blamed(case, hop, one) for one in _of_hop(case, hop)]
        outer = case.hops[0]
        if outer.status < 400 and not outer.broken and not outer.left:
            found = [_succeeded(case, outer), *(_weaker(one) for one in found if one.code not in {"ok", "slow"})]
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
    if hop.mark in {protection.OPEN, protection.FORCED}:
        yield protection.turned_away(case, hop)
    elif hop.mark in MARKS or hop.termination[1:] == "Q":
        yield limited(hop)
    elif hop.refused:
        yield _refused(case, hop)
    elif hop.termination in {"cR", "CR"} or hop.status == 408:
        yield _verdict(
            hop,
            "request-timeout",
            90,
            Origin.TIMEOUT,
            f"the client did not send its whole request in {_time(hop)}",
            "look at the client and the network to it",
        )
    elif hop.status == 429 or hop.status == 413:
        yield _limit(hop)
    elif hop.termination in {"SC", "sC"}:
        yield from _nobody(case, hop)
    elif hop.termination in {"SH", "SD", "PH"}:
        yield from _hung_up(case, hop)
    elif hop.termination in {"sH", "sD"}:
        yield _timed_out(case, hop)
    elif hop.left:
        yield _left(case, hop)
    elif hop.status >= 500:
        yield _own_error(case, hop)
    elif hop.status >= 400:
        yield _own_refusal(hop)
    elif hop.broken:
        yield _verdict(
            hop,
            "broken-off",
            60,
            Origin.GATEWAY,
            f"the answer of {_whom(hop)} broke off ({hop.termination})",
            "atoll doctor",
        )
    else:
        yield _succeeded(case, hop)


# What gateway and mesh refuse


def _refused(case: Case, hop: Hop) -> Verdict:
    asked = _asked(hop)
    if hop.status == 404:
        now = f"; now route {case.takes} takes it: it was added or changed since" if case.takes else ""
        near = f" ({case.routes[0]})" if case.routes and not now else ""
        return _verdict(
            hop, "no-route", 95, Origin.CLIENT, f"no route takes {asked}{near}{now}",
            f"atoll routes test {hop.method or 'GET'} {_url(hop)}", "atoll routes",
        )  # fmt: skip
    if hop.status == 405:
        return _verdict(
            hop, "method-not-allowed", 95, Origin.CLIENT, f"routes take {_url(hop)}, but not with {hop.method}",
            f"atoll routes test {hop.method} {_url(hop)}",
        )  # fmt: skip
    if hop.status == 503 and hop.edge == "mesh":
        outer = next((one for one in case.hops if hop.above and one.id == hop.above[-1]), None)
        caller = outer.service if outer is not None and outer.service else "somebody"
        return _verdict(
            hop, "unknown-service", 95, Origin.SERVICE,
            f"{caller} called a service that is not registered ({_asked(hop)} on the mesh)",
            "atoll service ls", "the name is the Host, /svc/NAME/ or the port of the call",
        )  # fmt: skip
    if hop.status in {413, 429}:
        return _limit(hop)
    wrong = case.refusal or "host or path is not one that the gateway passes on"
    code = "host-refused" if "host" in wrong.lower() else "path-refused"
    return _verdict(
        hop, code if hop.status == 400 else "bad-request", 95, Origin.CLIENT, f"the gateway refused {asked}: {wrong}",
        "correct the client; docs/gateway.md says what is refused",
    )  # fmt: skip


def _limit(hop: Hop) -> Verdict:
    who = f"{_whom(hop)} answered" if hop.instance else "the gateway answered"
    said = {429: "too many requests", 413: "the body is over the limit"}.get(hop.status, "")
    code, words = ("too-large" if hop.status == 413 else "too-many-requests"), f"{who} {hop.status}: {said}"
    return _verdict(
        hop, code, 90, Origin.LIMIT, words,
        f"send less, or give it more room: atoll scale {hop.service}=N" if hop.service else "send less",
    )  # fmt: skip


# Nobody took it


def _nobody(case: Case, hop: Hop) -> Iterable[Verdict]:
    service, ends = hop.service, _lately(case, hop)
    unasked = [one for one in ends if not one.asked]
    if hop.termination == "sC":
        yield _verdict(
            hop,
            "upstream-unreachable",
            70,
            Origin.NETWORK,
            f"{_whom(hop)} did not take the connection in time ({_time(hop)})",
            *_look(service),
        )
    again = [one for one in unasked if (one.instance, one.words) == (unasked[-1].instance, unasked[-1].words)]
    looping = [
        one
        for one in case.children
        if one.service == service and one.restarts >= LOOP and one.phase in {Phase.CRASH_LOOP, Phase.BACKOFF}
    ]
    if len(again) >= LOOP or (looping and (unasked or hop.end > looping[0].started - BEFORE)):
        if again:
            told = f"{again[-1].words}, {len(again)} times in the {BEFORE:.0f} s before"
        else:
            told = f"{looping[0].cause}, restarted {looping[0].restarts} times"
        yield _verdict(
            hop, "crash-loop", 95, Origin.SERVICE,
            f"{service} is in a crash loop: {told}{_last_words(case, service)}",
            f"atoll logs {service}", f"correct what makes it end, then atoll restart {service}",
        )  # fmt: skip
    elif unasked:
        end, who = unasked[-1], list(dict.fromkeys(one.instance for one in unasked))
        were = (
            f"{len(who)} instances of {service} were dead ({', '.join(who)})"
            if who[1:]
            else f"{who[0]} of {service} was dead"
        )
        yield _verdict(
            hop, "dead-instance", 90, Origin.SERVICE,
            f"{were}: {end.words} {_ago(end, hop)}{_last_words(case, service)}",
            *_look(service), f"more instances ride this out: atoll scale {service}={len(who) + 1}",
        )  # fmt: skip
    last = {record.instance: record for record in case.records if record.service == service and record.at <= hop.end}
    operator = [one for one in last.values() if one.verb in {Verb.MAINT, Verb.DRAINING} and not one.gone]
    failing = [one for one in last.values() if one.verb is Verb.FAILING]
    if service in case.stopped and not unasked:
        yield _verdict(
            hop, "stopped", 92, Origin.SERVICE, f"{service} is stopped: somebody said so", f"atoll start {service}"
        )
    if operator and not unasked:
        names, said = ", ".join(one.instance for one in operator), operator[-1].cause
        yield _verdict(
            hop, "out-of-service", 85, Origin.SERVICE,
            f"all of {service} was taken out: {names} {operator[-1].verb}" + (f" ({said})" if said else ""),
            f"atoll service history {service}",
        )  # fmt: skip
    if failing:
        one = failing[-1]
        yield _verdict(
            hop, "failing", 80 if not unasked else 60, Origin.SERVICE,
            f"no instance of {service} passed its check: {len(failing)} failing, {one.instance} since {hop.at - one.at:.0f} s before ({one.cause})",
            *_look(service),
        )  # fmt: skip
    if service and service not in case.known:
        yield _verdict(hop, "unknown-service", 88, Origin.SERVICE, f"{service} is not registered", "atoll service ls")
    code, words = (
        ("upstream-unreachable", f"{_whom(hop)} could not be reached")
        if hop.instance
        else ("no-instance", f"no instance of {service} was ready")
    )
    yield _verdict(
        hop, code, 50, Origin.NETWORK if hop.instance else Origin.SERVICE, words + _gone(last), *_look(service)
    )


def _gone(last: Mapping[str, Record]) -> str:
    return "" if last else ": none was ever registered around that time"


# It was taken, and not answered


def _hung_up(case: Case, hop: Hop) -> Iterable[Verdict]:
    died = [one for one in case.ends if one.instance == hop.instance and hop.at - 0.1 <= one.at <= hop.end + DURING]
    when = "in the middle of its answer" if hop.termination == "SD" else "while it worked on the request"
    if died:
        yield _verdict(
            hop, "dead-instance", 96, Origin.SERVICE,
            f"{_whom(hop)} died {when}: {died[0].words}{_last_words(case, hop.service)}",
            *_look(hop.service),
        )  # fmt: skip
    if hop.termination == "PH":
        yield _verdict(
            hop,
            "upstream-answer",
            85,
            Origin.SERVICE,
            f"what {_whom(hop)} answered is not valid HTTP",
            f"atoll logs {hop.service}",
        )
    else:
        hung = (
            "broke off in the middle of its answer"
            if hop.termination == "SD"
            else "closed the connection without an answer"
        )
        yield _verdict(
            hop,
            "upstream-answer",
            85,
            Origin.SERVICE,
            f"{_whom(hop)} {hung}; its process lived on",
            f"atoll logs {hop.service}",
            "does it close connections that are kept alive too early?",
        )


def _timed_out(case: Case, hop: Hop) -> Verdict:
    slow = _slowest(case, hop)
    waited = f"; it waited for {_whom(slow)} ({_time(slow)}, {_asked(slow)})" if slow is not hop else ""
    silent = "went silent in the middle of its answer" if hop.termination == "sD" else "did not answer"
    asleep = [
        one
        for one in case.records
        if one.instance == hop.instance and one.verb is Verb.FAILING and abs(one.at - hop.end) < BEFORE
    ]
    stuck = f"; its check failed as well ({asleep[-1].cause})" if asleep and not waited else ""
    return _verdict(
        hop, "upstream-timeout", 90, Origin.TIMEOUT, f"{_whom(hop)} {silent} within {_time(hop)}{waited}{stuck}",
        f"atoll traces {case.trace}", f"atoll red {slow.service}",
        f"if that long is right, raise the timeout of {'route ' + hop.route if hop.route else hop.service}",
    )  # fmt: skip


def _left(case: Case, hop: Hop) -> Verdict:
    if hop.above:
        outer = next((one for one in case.hops if one.id == hop.above[-1]), None)
        caller = outer.service if outer is not None and outer.service else "its caller"
        return _verdict(
            hop, "gave-up", 88, Origin.TIMEOUT,
            f"{caller} gave up waiting for {_whom(hop)} after {_time(hop)} ({_asked(hop)})",
            f"atoll logs {hop.service} --since 10m", f"atoll red {hop.service}",
        )  # fmt: skip
    return _verdict(
        hop,
        "client-left",
        85,
        Origin.CLIENT,
        f"the client left after {_time(hop)}, before {_whom(hop)} had answered{_where(case)}",
        f"atoll traces {case.trace}",
    )


# The service answered


def _own_error(case: Case, hop: Hop) -> Verdict:
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
            return _verdict(
                hop,
                code,
                95,
                Origin.SERVICE,
                f"{_whom(hop)} answered {hop.status} because {words}: {_quote(line)}",
                remedy,
                f"atoll logs {hop.service}",
            )
    quoted = f": {_quote(grave[-1])}" if grave else ""
    return _verdict(
        hop,
        "service-error",
        80,
        Origin.SERVICE,
        f"{_whom(hop)} answered {hop.status} by itself{quoted}",
        f"atoll logs {hop.service} --trace {case.trace}",
        f"atoll traces {case.trace}",
    )


def _own_refusal(hop: Hop) -> Verdict:
    if hop.status in {401, 403}:
        code, words = "not-allowed", f"{_whom(hop)} does not let this caller in ({hop.status})"
        advice = "send the credentials that the service asks for"
    else:
        code, words = "service-refused", f"{_whom(hop)} answered {hop.status} to {_asked(hop)}"
        advice = f"the service says no to this request: atoll logs {hop.service}"
    return _verdict(hop, code, 85, Origin.CLIENT, words, advice)


def _succeeded(case: Case, hop: Hop) -> Verdict:
    again = f", at attempt {hop.attempts}" + (" on another instance" if hop.moved else "") if hop.attempts > 1 else ""
    slow = _slowest(case, hop)
    if hop.took_ms < SLOW_MS:
        words = f"nothing failed: {_asked(hop)} was answered {hop.status} by {_whom(hop)} in {_time(hop)}{again}"
        return _verdict(hop, "ok", 70, "", words)
    part = next((one for one in case.parts if one.service == slow.service), None)
    inside = f"; there, {took(part.ms)} in {part.name}" if part is not None and part.name != slow.method else ""
    return _verdict(
        hop, "slow", 75, Origin.SERVICE,
        f"nothing failed, but it took {_time(hop)}: {_time(slow)} of it in {_whom(slow)} ({slow.method} {slow.path}){inside}{again}",
        f"atoll traces {case.trace}", f"atoll red {slow.service}",
    )  # fmt: skip


def _slowest(case: Case, hop: Hop) -> Hop:
    """The innermost hop that was waited for most of the time."""
    while True:
        inner = [one for one in case.hops if hop.id in one.above and one.took_ms >= MOST * hop.took_ms]
        if not inner:
            return hop
        hop = max(inner, key=lambda one: (-len(one.above), one.took_ms))


def _no_request(case: Case) -> Verdict:
    grave = next((one for one in case.said if one.level.lower() in GRAVE), None)
    words = f"no request through gateway or mesh is in this trace{_where(case)}" + (
        f"; {grave.service} said: {_quote(grave)}" if grave else ""
    )
    return Verdict(code="no-request", weight=40, origin="", cause=words, next=(f"atoll traces {case.trace}",))


# Words


def _verdict(hop: Hop, code: str, weight: int, origin: str, cause: str, *following: str) -> Verdict:
    return Verdict(
        code=code, weight=min(100, weight + (1 if hop.above else 0)), origin=str(origin), cause=cause, next=following
    )


def _weaker(one: Verdict) -> Verdict:
    return Verdict(
        code=one.code, weight=one.weight // 2, origin=one.origin, cause=f"on the way: {one.cause}", next=one.next
    )


def _whom(hop: Hop) -> str:
    return hop.instance or hop.service or "the service"


def _asked(hop: Hop) -> str:
    return scrub(f"{hop.method} {_url(hop)}".strip(), limit=QUOTED)


def _url(hop: Hop) -> str:
    return f"http://{hop.host}{hop.path}" if hop.host and hop.edge == "gateway" else hop.path


def _time(hop: Hop) -> str:
    return took(hop.took_ms)


def _where(case: Case) -> str:
    if not case.parts or case.took_ms < SLOW_MS:
        return ""
    part = case.parts[0]
    return f"; {took(part.ms)} went to {part.instance or part.service} ({part.name})"


def _lately(case: Case, hop: Hop) -> list[End]:
    return [one for one in case.ends if one.service == hop.service and hop.at - BEFORE <= one.at <= hop.end + DURING]


def _ago(end: End, hop: Hop) -> str:
    before = hop.at - end.at
    return f"{before:.1f} s before the request" if before >= 0.05 else "at that moment"


def _look(service: str) -> tuple[str, ...]:
    return (f"atoll logs {service}", f"atoll service history {service}") if service else ()


def _last_words(case: Case, service: str) -> str:
    """The last line that an instance printed before it ended, quoted."""
    for child in case.children:
        if child.service == service:
            line = next((text.strip() for text in reversed(child.last_lines) if text.strip()), "")
            if line:
                return f"; its last line: {scrub(line, limit=QUOTED)}"
    return ""


def _quote(said: Said) -> str:
    lines = [line.strip() for line in said.text.splitlines() if line.strip()]
    return scrub(lines[-1] if lines else "", limit=QUOTED)
