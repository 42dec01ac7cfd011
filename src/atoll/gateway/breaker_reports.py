"""What the circuit breakers' table and map mean: the state of each, and what changed since the last look. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from atoll.gateway.breaker import LINGER
from atoll.gateway.breaker_lines import FORCED, OF_SERVICE, ROUTE, Line, Word, parse_line, parse_word, word_key
from atoll.gateway.counts import BreakerRow
from atoll.model.breaker import BreakerState
from atoll.model.effective import caller_of
from atoll.model.names import ServiceName
from atoll.model.report import BreakerChange, BreakerReport

AGAIN = "it is tried again"
Who = tuple[ServiceName, str]
"""Callee and caller."""


def breaker_reports(rows: Iterable[BreakerRow], lines: Mapping[str, str], wall: float) -> Iterator[BreakerReport]:
    """The breakers that were counted, and those on which a word holds at `wall`, by callee and caller."""
    scopes = {key: line for key, text in lines.items() if (line := parse_line(text)) is not None}
    words = {
        key: word
        for key, text in lines.items()
        if key != FORCED and key not in scopes and (word := parse_word(text)) is not None and wall < word.until
    }
    counted = {row.who: row for row in rows}
    found = {}
    for scope, line in scopes.items():
        word = words.get(word_key(scope)) or words.get(line.service + OF_SERVICE)
        if scope in counted or word is not None:
            who = ServiceName(line.service), caller_of(scope)
            found[who] = _report(who, counted.get(scope, BreakerRow(who=scope)), line, word, wall)
    for key, word in words.items():
        for service in word.services.split(","):
            who = ServiceName(service), _caller_of_word(key)
            row = counted.get(key.removesuffix(OF_SERVICE), BreakerRow(who=key))
            found.setdefault(who, _report(who, row, None, word, wall))
    yield from (found[who] for who in sorted(found))


def changes(
    before: Mapping[Who, BreakerReport], after: Iterable[BreakerReport], wall: float
) -> Iterator[BreakerChange]:
    """What happened between two looks, in order of time. An operator's word is told where it was said, not here."""
    found: list[BreakerChange] = []
    for now in after:
        known = before.get((now.service, now.caller)) or BreakerReport(service=now.service, caller=now.caller)
        times = now.opened - known.opened if now.opened >= known.opened else now.opened
        was = known.state
        if was is BreakerState.OPEN and not known.forced and (times or now.state is BreakerState.CLOSED):
            # it was half-open for so short a time that nobody saw it
            then = min(known.due or wall, now.opened_at if times else max(now.since, known.opened_at))
            found.append(_change(now, BreakerState.HALF_OPEN, then, AGAIN))
        if times:
            found.append(_change(now, BreakerState.OPEN, now.opened_at or wall, _why(now, known, times)))
            was = BreakerState.OPEN
        if now.forced or known.forced:
            continue
        if now.state is BreakerState.HALF_OPEN and was is not BreakerState.HALF_OPEN:
            found.append(_change(now, now.state, now.due or wall, AGAIN))
        elif now.state is BreakerState.CLOSED and was is not BreakerState.CLOSED:
            since = now.since if not now.due and now.since >= now.opened_at else wall
            found.append(_change(now, now.state, since, _healed(now)))
    yield from sorted(found, key=lambda each: each.at)


def _caller_of_word(key: str) -> str:
    name = key[:-1]
    if key.endswith(OF_SERVICE):
        return ""
    return name.partition(">")[0] if ">" in name else ROUTE + name


def _report(who: Who, row: BreakerRow, line: Line | None, word: Word | None, wall: float) -> BreakerReport:
    state, until = (BreakerState(word.state), float(word.until)) if word is not None else _state(row, wall)
    return BreakerReport(
        service=who[0],
        caller=who[1],
        state=state,
        forced=word is not None,
        since=float(row.closed_at if state is BreakerState.CLOSED else row.opened_at),
        until=until,
        due=float(row.until),
        opened_at=float(row.opened_at),
        requests=row.requests,
        failures=row.failures,
        slow=row.slow,
        opened=row.opened,
        rejected=row.rejected,
        reset=0.0 if line is None else float(line.reset),
        rule="" if line is None else _rule(line),
    )


def _state(row: BreakerRow, wall: float) -> tuple[BreakerState, float]:
    if not row.until or wall >= row.until + LINGER:
        return BreakerState.CLOSED, 0.0
    if wall >= row.until:
        return BreakerState.HALF_OPEN, 0.0
    return BreakerState.OPEN, float(row.until)


def _rule(line: Line) -> str:
    failed = f"{line.errors}% failed"
    slow = f" or {line.slow}% over {line.limit / 1000:g}s" if line.flag and line.slow and line.limit < 10**9 else ""
    return f"{failed}{slow} of {line.requests} in {line.window}s"


def _change(now: BreakerReport, state: BreakerState, at: float, reason: str) -> BreakerChange:
    return BreakerChange(
        at=at,
        service=now.service,
        caller=now.caller,
        state=state,
        reason=reason,
        requests=now.requests,
        failures=now.failures,
        slow=now.slow,
        opened=now.opened,
        rejected=now.rejected,
    )


def _why(now: BreakerReport, known: BreakerReport, times: int) -> str:
    again = f" ({times} times since the last look)" if times > 1 else ""
    if known.state is not BreakerState.CLOSED and not known.forced:
        return f"a probe failed{again}"
    slow = f", {now.slow} were slow" if now.slow else ""
    rule = f"; it opens at {now.rule}" if now.rule else ""
    if now.state is BreakerState.CLOSED:  # what was counted then is forgotten
        return f"too many requests failed{rule}{again}"
    return f"{now.failures} of {now.requests} requests failed{slow}{rule}{again}"


def _healed(now: BreakerReport) -> str:
    if now.due:
        return f"nobody asked for {LINGER} s since it might be tried again"
    return "it was reset" if now.reset >= now.opened_at else "all probes succeeded"
