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

from atoll.gateway.bound import Bound, Does, Named, Number, does
from atoll.gateway.counts import whole
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
_CLASS_ZERO = 1
"""What the line's class is greater by, so that none is negative."""
_CLASS = {Priority.HIGH: -1, Priority.NORMAL: 0, Priority.LOW: 1}


def rules(column: Named) -> str:
    """Before a request is sent: whether it may. Who may not is answered by `REFUSALS`, which must follow."""
    return f"""\
  acl own_limit var(txn.own) -m found
  acl whole_limit var(txn.whole) -m found
  acl roomed var(txn.each) -m found
  acl manned be_name,nbsrv -m int gt 0
  acl {BUSY} var({MARK}) -m str {BUSY}
  acl {FULL} var({MARK}) -m str {FULL}
  http-request set-var(txn.own) {column("own")},add(0) if {{ {does(Does.OWN)} }}
  http-request track-sc{_OWN} var(txn.at),field(-2,|) table {COUNTS} if own_limit
  http-request set-var({MARK}) str({BUSY}) if own_limit {{ sc_conn_cur({_OWN}),sub(txn.own) -m int gt 0 }}
  http-request set-var(txn.whole) {column("whole_service")},add(0) if {{ {does(Does.WHOLE)} }} !{BUSY}
  http-request track-sc{_WHOLE} var(txn.at),field(4,|) table {COUNTS} if whole_limit
  http-request set-var({MARK}) str({BUSY}) if whole_limit {{ sc_conn_cur({_WHOLE}),sub(txn.whole) -m int gt 0 }}
  http-request set-var(txn.each) {column("each")},add(0) if {{ {does(Does.ROOM)} }} !{BUSY}
  http-request track-sc{_ROOM} be_name table {QUEUES} if roomed
  http-request set-var(txn.size) {column("size")},add(0) if roomed
  http-request set-var(txn.room) be_name,nbsrv,mul(txn.each),add(txn.size) if roomed
  http-request set-priority-class {column("class")},sub({_CLASS_ZERO}) if roomed
  http-request set-var({MARK}) str({FULL}) if roomed manned {{ sc_conn_cur({_ROOM}),sub(txn.room) -m int gt 0 }}
"""


LET_THROUGH = f"!{BUSY} !{FULL}"
"""No limit is passed."""

REFUSALS = f"""\
  http-request set-var(txn.limit) var(txn.own) if {BUSY}
  http-request set-var(txn.limit) var(txn.whole) if {BUSY} whole_limit
  http-request set-var(txn.limit) var(txn.room) if {FULL}
  http-request sc-inc-gpc(0,{_OWN}) if {BUSY} !whole_limit
  http-request sc-inc-gpc(0,{_WHOLE}) if {BUSY} whole_limit
  http-request sc-inc-gpc(0,{_ROOM}) if {FULL}
  http-request set-var(txn.wait) sc_gpc_rate(0,{_OWN}),div(txn.limit),mod({RETRY_SPREAD}),add(1) if {BUSY} !whole_limit
  http-request set-var(txn.wait) sc_gpc_rate(0,{_WHOLE}),div(txn.limit),mod({RETRY_SPREAD}),add(1) if {BUSY} whole_limit
  http-request set-var(txn.wait) sc_gpc_rate(0,{_ROOM}),div(txn.limit),mod({RETRY_SPREAD}),add(1) if {FULL}
{refusal(TOO_BUSY, BUSY)}
{refusal(QUEUE_FULL, FULL)}
"""
"""The answers. The service's limit is only looked at (`whole_limit`) by who passed the own one."""


def limit_numbers(bound: Bound) -> tuple[int, int, int, int, int]:
    """The own limit, the service's, that of each instance (0: there is none), the queue's size and the class in it."""
    policy, callee, scope = bound.effective.policy, bound.callee, bound.effective.scope("max_concurrency")
    own = policy.max_concurrency or 0 if scope != callee.name else 0
    whole, each = callee.policy.max_concurrency or 0, callee.instance_concurrency or 0
    priority = policy.priority or Priority.NORMAL
    size = (callee.queue or Queue()).size
    if priority is Priority.LOW:
        size //= 2
    return own, whole, each, size, _CLASS[priority]


def bits(bound: Bound) -> Does:
    """Which limits there are."""
    own, whole, each, _, _ = limit_numbers(bound)
    return (Does.OWN if own else Does(0)) | (Does.WHOLE if whole else Does(0)) | (Does.ROOM if each else Does(0))


NUMBERS: tuple[tuple[str, Number], ...] = (
    ("own", lambda bound: limit_numbers(bound)[0]),
    ("whole_service", lambda bound: limit_numbers(bound)[1]),
    ("each", lambda bound: limit_numbers(bound)[2]),
    ("size", lambda bound: limit_numbers(bound)[3]),
    ("class", lambda bound: limit_numbers(bound)[4] + _CLASS_ZERO),
)


def limits_sections() -> str:
    """The tables."""
    sizes = ("len", "160", "size", str(KEYS), "expire", "1h", "store")
    table = line("stick-table", "type", "string", *sizes) + " conn_cur,gpc(1),gpc_rate(1,10s)\n"
    return "\n".join(f"{section('backend', name)}\n{table}" for name in (COUNTS, QUEUES))


def limit_reports(upstreams: Mapping[str, str], counts: str, queues: str) -> Iterator[LimitReport]:
    """What the answers to `show table` mean; `upstreams` tells whose the sections are.

    Entries that nobody holds and nobody was refused at say nothing.

    Raises:
        Unanswered: one counts what is no number.
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
            yield words["key"], whole(words["conn_cur"]), whole(words.get("gpc0", "0"))
