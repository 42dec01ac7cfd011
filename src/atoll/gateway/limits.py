"""How many requests may be under way, and who waits: kept by HAProxy alone, number by number from the policies map.

Requests under way are counted exactly, by a table entry that a request holds until it ends: one for the service (all
who call it, by whatever way), one for the route or call. A limit's refusal comes at once. `conn_cur` counts what is
refused as well for the moment that takes, so under a flood a place may stay free for that long; never is one too many
let through.

What one instance takes is its server's `maxconn`; HAProxy's queue has no bound of its own, so what a section may hold,
waiting or not, is counted too: what its living instances take, and the size of the queue. Requests of low priority
meet half of that size (it stands so in their line), those of a higher class leave the queue first.

`Retry-After` grows with what was refused in the last ten seconds, one second for as many as the limit lets through, up
to RETRY_SPREAD: who was refused does not come back all at once. Every gateway counts for itself, and a new HAProxy
process begins at nothing while the old one ends what it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from atoll.gateway.bound import Bound, Named
from atoll.gateway.problem import MARK, QUEUE_FULL, TOO_BUSY, refusal
from atoll.gateway.quote import line, section
from atoll.model.bulkhead import Priority, Queue
from atoll.model.report import LimitReport

COUNTS, QUEUES = "edge:concurrency", "edge:queues"
"""Tables: requests under way by service, route and call; by section, waiting ones included."""
KEYS = 20_000
COUNTERS = 8
"""Tables that a request may hold an entry of; HAProxy's default is three."""
RETRY_SPREAD = 30
"""Seconds."""
BUSY, FULL = "busy", "full"
"""The log's marks of what was refused."""

_OWN, _WHOLE, _ROOM = 3, 4, 5
"""Of the counters: 0 is free, 1 the breaker's, 2 the retry budget's."""
_CLASS = {Priority.HIGH: -1, Priority.NORMAL: 0, Priority.LOW: 1}


def _refuse(counter: int, limit: str, mark: str, when: str, answer: str) -> str:
    """Rules that refuse when the table says that `limit` is passed."""
    over = f"{{ sc_conn_cur({counter}),sub({limit}) -m int gt 0 }}"
    return f"""\
  http-request set-var({MARK}) str({mark}) if {when} {over}
  http-request set-var(txn.limit) var({limit}) if {mark}
  http-request sc-inc-gpc(0,{counter}) if {mark}
  http-request set-var(txn.wait) sc_gpc_rate(0,{counter}),div({limit}),mod({RETRY_SPREAD}),add(1) if {mark}
{answer}
"""


def rules(column: Named) -> str:
    """Before a request is sent."""

    def number(at: int) -> str:
        return f"var(txn.limits),field({at},:),add(0)"

    return f"""\
  http-request set-var(txn.limits) {column("limits")} if policied
  acl limited var(txn.limits) -m len gt 0
  http-request set-var(txn.own) {number(1)} if limited
  http-request set-var(txn.whole) {number(2)} if limited
  http-request set-var(txn.each) {number(3)} if limited
  acl own_limit var(txn.own) -m int gt 0
  acl whole_limit var(txn.whole) -m int gt 0
  acl roomed var(txn.each) -m int gt 0
  acl manned be_name,nbsrv -m int gt 0
  acl {BUSY} var({MARK}) -m str {BUSY}
  acl {FULL} var({MARK}) -m str {FULL}
  http-request track-sc{_OWN} var(txn.at),field(7,|) table {COUNTS} if own_limit
{_refuse(_OWN, "txn.own", BUSY, "own_limit", refusal(TOO_BUSY, BUSY))}\
  http-request track-sc{_WHOLE} var(txn.at),field(4,|) table {COUNTS} if whole_limit
{_refuse(_WHOLE, "txn.whole", BUSY, "whole_limit", refusal(TOO_BUSY, BUSY))}\
  http-request track-sc{_ROOM} be_name table {QUEUES} if roomed
  http-request set-var(txn.size) {number(4)} if roomed
  http-request set-var(txn.room) be_name,nbsrv,mul(txn.each),add(txn.size) if roomed
  http-request set-priority-class {number(5)} if roomed
{_refuse(_ROOM, "txn.room", FULL, "roomed manned", refusal(QUEUE_FULL, FULL))}"""


def limits_word(bound: Bound) -> str:
    """`own:whole:each:size:class`, 0 where there is no limit; empty: nothing is limited."""
    policy, callee, scope = bound.effective.policy, bound.callee, bound.effective.scope("max_concurrency")
    own = policy.max_concurrency or 0 if scope != callee.name else 0
    whole, each = callee.policy.max_concurrency or 0, callee.instance_concurrency or 0
    if not own and not whole and not each:
        return ""
    priority = policy.priority or Priority.NORMAL
    size = (callee.queue or Queue()).size
    if priority is Priority.LOW:
        size //= 2
    return f"{own}:{whole}:{each}:{size}:{_CLASS[priority]}"


COLUMNS = (("limits", limits_word),)


def limits_sections() -> str:
    """The tables."""
    sizes = ("len", "160", "size", str(KEYS), "expire", "1h", "store")
    table = line("stick-table", "type", "string", *sizes) + " conn_cur,gpc(1),gpc_rate(1,10s)\n"
    return "\n".join(f"{section('backend', name)}\n{table}" for name in (COUNTS, QUEUES))


def limit_reports(upstreams: Mapping[str, str], counts: str, queues: str) -> Iterator[LimitReport]:
    """What the answers to `show table` mean; `upstreams` tells whose the sections are.

    Entries that nobody holds and nobody was refused at say nothing.
    """
    for text, queue in ((counts, False), (queues, True)):
        for key, under_way, refused in _entries(text.splitlines()):
            who = upstreams.get(key) if queue else key
            if who is not None and (under_way or refused):
                yield LimitReport(who=who, queue=queue, under_way=under_way, refused=refused)


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    for said in lines:
        words = dict(word.split("=", 1) for word in said.split() if "=" in word)
        if "key" in words and "conn_cur" in words:
            yield words["key"], int(words["conn_cur"]), int(words.get("gpc0", "0"))
