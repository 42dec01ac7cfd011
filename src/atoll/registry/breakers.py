"""What circuit breakers did and what operators said of them, as records of the registry's history."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from atoll.kit.text import scrub
from atoll.model.answers import Record, Verb
from atoll.model.breaker import BreakerState, BreakerWord
from atoll.model.keys import history_key
from atoll.model.names import ServiceName
from atoll.model.report import BreakerChange
from atoll.model.route import Route
from atoll.model.service import Service
from atoll.model.snapshot import encode
from atoll.registry.history import ORDERS
from atoll.store.base import Put

CAUSE_LIMIT = 400
"""Characters."""
STATES = (BreakerState.HALF_OPEN, BreakerState.OPEN, BreakerState.CLOSED)
"""In the order in which they come within one second."""
ROUTE = "route:"
"""How a route is told as a caller."""


def recorded(change: BreakerChange) -> Put:
    """The record of a change. Its key is made of what it says, so a change that is told twice stays one."""
    told = repr((change.node, change.caller, change.state, change.forced, change.opened))
    digest = int.from_bytes(hashlib.blake2b(told.encode(), digest_size=4).digest())
    share = ORDERS // len(STATES)
    order = STATES.index(change.state) * share + digest % share
    clean = msgspec.structs.replace(change, reason=scrub(change.reason, limit=CAUSE_LIMIT))
    record = Record(at=change.at, verb=Verb.BREAKER, service=change.service, cause=in_words(clean), breaker=clean)
    return Put(history_key(change.service, change.at, order), encode(record))


def in_words(change: BreakerChange) -> str:
    """Who, what and why, in one line."""
    who = f"for {change.caller}: " if change.caller else ""
    return f"{who}{'forced ' if change.forced else ''}{change.state}: {change.reason}"


def words_said(before: Service | Route | None, after: Service | Route) -> Iterator[BreakerChange]:
    """What an operator said between two versions of a fact."""
    if isinstance(after, Route):
        held = before.breaker_word if before is not None else BreakerWord()
        for service in sorted({share.service for share in after.shares}):
            yield from _said(held, after.breaker_word, service, ROUTE + after.name)
        return
    known = before if isinstance(before, Service) else None
    yield from _said(known.breaker_word if known else BreakerWord(), after.breaker_word, after.name, "")
    for name, call in sorted(after.calls.items()):
        was = known.calls[name].breaker_word if known and name in known.calls else BreakerWord()
        yield from _said(was, call.breaker_word, name, after.name)


def _said(before: BreakerWord, after: BreakerWord, service: ServiceName, caller: str) -> Iterable[BreakerChange]:
    if before == after or after == BreakerWord():
        return
    what = f"for {after.until - after.since:.0f} s" if after.state else "begins anew"
    yield BreakerChange(
        at=after.since,
        service=service,
        caller=caller,
        state=after.state or BreakerState.CLOSED,
        reason=f"{what}, by an operator: {after.reason}",
        forced=after.state is not None,
    )
