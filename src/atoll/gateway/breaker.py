"""The circuit breaker of each service, kept by HAProxy alone: closed, open, half-open, by numbers of a map.

While nothing failed anywhere for ATTENTION seconds and nothing is forced, a request pays two looks (`CALM`) and an
answer two (`UNASKED`). The first failure only wakes the counting: it and what is on its way then are not counted.
From then on requests of all services are counted, each service in an entry of its own, in windows of its own length that
begin with the first request after the last one ended.

An entry's numbers: `gpt` 0 until when it is open (epoch seconds; 0: closed), 1 when the window began, 2 when it opened
last, 3 when it closed last; `gpc` 0 requests and 1 failures of the window, 2 probes let through, 3 probes that succeeded, 4 times it opened.
When it is due, each request takes the number of a probe; with the last one it is open for another term, so probes that
never end do not hold it. A service without instances answers at once and cannot be hurt: such answers are not counted,
and an open breaker is due from then on, so that the first instance that returns is tried at once. Two threads may let one probe more through. Due and not asked for LINGER seconds is closed.

The map's value of a service: `errors|requests|window|open|probes|word|until|reset`; `FORCED` is there when any service
has a word, or faults are injected. A service that is not in the map has no breaker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from atoll.gateway.config import BREAKERS, map_path
from atoll.gateway.limits import BUSY, FULL
from atoll.gateway.problem import BREAKER_OPEN, MARK, refusal
from atoll.gateway.quote import line, section
from atoll.gateway.readback import BreakerRow
from atoll.model.breaker import WINDOW_CEILING, Breaker, BreakerState, whole_seconds
from atoll.model.names import ServiceName
from atoll.model.report import BreakerReport
from atoll.model.service import Service

TABLE = "edge:breakers"
KEYS = 10_000
"""Services at most."""
ATTENTION = WINDOW_CEILING
"""Seconds after a failure in which requests are counted."""
FIRST_LOOK = 5
"""Seconds after the start of a process in which they are."""
LINGER = 60
"""Seconds after which a breaker that is due, and that nobody asked, is closed."""
FORCED = "FORCED"
"""The key that says that some service has an operator's word."""
WORDS = 8
"""Columns of a line of the map."""
NEVER = 1_000_000_000
"""Requests of a window that no breaker sees: one that is off, and only has a word."""

_MAP = map_path(BREAKERS)
_SERVICE = "var(txn.at),field(4,|)"


def _number(at: int) -> str:
    """A number of the service's line in the map."""
    return f"var(txn.breaker),field({at},|),add(0)"


def _clear(rule: str, *numbers: int, when: str) -> str:
    return "\n".join(f"  {rule} set-var(txn.cleared) sc_clr_gpc({number},1) if {when}" for number in numbers)


GLOBAL_RULES = f"  set-var proc.attentive date({FIRST_LOOK})"
"""A new process looks at what it was handed over; whoever finds it open keeps looking."""

CONDITIONS = f"""\
  acl attentive date(),sub(proc.attentive) -m int lt 0
  acl worded str({FORCED}),map_str({_MAP}) -m found
"""
CALM = "!attentive !worded"
"""Neither breakers nor retry budgets need be asked."""

REQUEST_RULES = f"""\
  http-request set-var(txn.breaker) {_SERVICE},map_str({_MAP})
  acl guarded var(txn.breaker) -m found
  acl tripped var(txn.until) -m int gt 0
  acl due date(),sub(txn.until) -m int ge 0
  acl empty be_name,nbsrv -m int eq 0
  acl over var(txn.over) -m found
  acl held var(txn.word) -m found
  acl numbered var(txn.probe) -m found
  acl turned_away var({MARK}) -m str open forced {BUSY} {FULL}
  http-request track-sc1 {_SERVICE} table {TABLE} if guarded
  http-request set-var(txn.until) sc_get_gpt(0,1) if guarded
  http-request set-var(txn.term) {_number(7)} if guarded worded
  http-request set-var(txn.word) var(txn.breaker),field(6,|) if {{ date(),sub(txn.term) -m int lt 0 }}
  http-request allow if !tripped !held !faulty
  http-request set-var(txn.reset) {_number(8)} if tripped
  http-request set-var(txn.over) bool(true) if tripped {{ sc_get_gpt(2,1),sub(txn.reset) -m int le 0 }}
  http-request set-var(txn.over) bool(true) if tripped {{ date(-{LINGER}),sub(txn.until) -m int ge 0 }}
  http-request sc-set-gpt(0,1) int(0) if over
  http-request sc-set-gpt(3,1) date() if over
{_clear("http-request", 0, 1, 2, 3, when="over")}
  http-request set-var(txn.until) int(0) if over
  http-request set-var(txn.watched) var(txn.until),add({LINGER}) if tripped
  http-request set-var(proc.attentive) var(txn.watched) if tripped {{ var(txn.watched),sub(proc.attentive) -m int gt 0 }}
  http-request set-var({MARK}) str(forced) if {{ var(txn.word) -m str {BreakerState.OPEN} }}
  http-request set-var(txn.until) var(txn.term) if turned_away
  http-request sc-set-gpt(0,1) date() if tripped !held empty
  http-request set-var(txn.cleared) sc_clr_gpc(2,1) if tripped !held empty
  http-request allow if tripped !held empty
  http-request set-var({MARK}) str(open) if tripped !held !due
  http-request set-var(txn.probe) sc_inc_gpc(2,1) if tripped !held due
  http-request set-var(txn.probes) {_number(5)} if numbered
  http-request set-var(txn.open) {_number(4)} if numbered
  http-request set-var({MARK}) str(probe) if numbered
  http-request set-var({MARK}) str(open) if numbered {{ var(txn.probe),sub(txn.probes) -m int gt 0 }}
  http-request sc-set-gpt(0,1) date(),add(txn.open) if numbered {{ var(txn.probe),sub(txn.probes) -m int eq 0 }}
  http-request set-var(txn.cleared) sc_clr_gpc(2,1) if numbered {{ var(txn.probe),sub(txn.probes) -m int eq 0 }}
  http-request set-var(txn.wait) date(),sub(txn.until),neg if turned_away
  http-request set-var(txn.wait) int(1) if turned_away {{ var(txn.wait) -m int lt 1 }}
{refusal(BREAKER_OPEN, "turned_away")}
"""
"""Before a request is sent, when something is wrong somewhere."""

UNASKED = "!failed !guarded"
"""Of an answer: nothing for the breaker to count."""
WAKE = "failed !turned_away"
"""Of an answer: from now on requests are counted."""

ANSWER_RULES = f"""\
  http-after-response allow if !guarded or turned_away or held or empty
  acl probing var({MARK}) -m beg probe
  acl healed var(txn.healed) -m found
  acl lapsed date(),sub(txn.began),sub(txn.window) -m int ge 0
  acl trip var(txn.trip) -m found
  http-after-response sc-inc-gpc(3,1) if probing !failed
  http-after-response set-var(txn.healed) bool(true) if probing !failed {{ sc_get_gpc(3,1),sub(txn.probes) -m int ge 0 }}
  http-after-response sc-set-gpt(0,1) int(0) if healed
  http-after-response sc-set-gpt(3,1) date() if healed
{_clear("http-after-response", 0, 1, 2, 3, when="healed")}
  http-after-response allow if probing !failed
  http-after-response set-var(txn.until) sc_get_gpt(0,1)
  http-after-response allow if tripped !probing
  http-after-response set-var(txn.window) {_number(3)}
  http-after-response set-var(txn.began) sc_get_gpt(1,1)
  http-after-response sc-set-gpt(1,1) date() if lapsed !probing
{_clear("http-after-response", 0, 1, when="lapsed !probing")}
  http-after-response sc-inc-gpc(0,1) if !probing
  http-after-response allow if !failed
  http-after-response sc-inc-gpc(1,1) if !probing
  http-after-response set-var(txn.errors) {_number(1)}
  http-after-response set-var(txn.least) {_number(2)}
  http-after-response set-var(txn.requests) sc_get_gpc(0,1)
  http-after-response set-var(txn.trip) bool(true) if probing or {{ var(txn.requests),sub(txn.least) -m int ge 0 }} {{ sc_get_gpc(1,1),mul(100),div(txn.requests),sub(txn.errors) -m int ge 0 }}
  http-after-response allow if !trip
  http-after-response set-var(txn.open) {_number(4)}
  http-after-response sc-set-gpt(0,1) date(),add(txn.open)
  http-after-response sc-set-gpt(2,1) date()
  http-after-response sc-inc-gpc(4,1)
  http-after-response set-var(txn.cleared) sc_clr_gpc(2,1)
  http-after-response set-var(txn.cleared) sc_clr_gpc(3,1)
  http-after-response set-var(proc.attentive) date({ATTENTION}),add(txn.open) if {{ date({ATTENTION}),add(txn.open),sub(proc.attentive) -m int gt 0 }}
"""
"""What came back is counted."""


def breaker_section(peers: str) -> str:
    """The table of states, handed over at a reload by `peers`."""
    table = line(
        "stick-table", "type", "string", "len", "64", "size", str(KEYS), "expire", "2h", "peers", peers, "store"
    )
    return f"{section('backend', TABLE)}\n{table} gpt(4),gpc(5)\n"


def breaker_entries(services: Iterable[Service], *, forced: bool = False) -> Iterator[tuple[str, str]]:
    """The map: a line for each service that has a breaker or a word; `forced`: something else must be looked at too."""
    worded = forced
    for service in sorted(services, key=lambda each: each.name):
        said, word = service.policy.circuit_breaker or Breaker(), service.breaker_word
        state = "" if word.state is None else word.state.value
        if not said.enabled and not state:
            continue
        worded = worded or bool(state)
        least = said.min_requests if said.enabled else NEVER
        numbers = (said.errors, least, whole_seconds(said.window), whole_seconds(said.open), said.probes)
        until = whole_seconds(word.until) if state else 0
        yield service.name, "|".join(map(str, (*numbers, state, until, int(word.reset))))
    if worded:
        yield FORCED, "1"


def breaker_reports(rows: Iterable[BreakerRow], lines: Mapping[str, str], wall: float) -> Iterator[BreakerReport]:
    """What the table's `rows` and the map's `lines` mean at `wall`: services that were counted, and those with a word."""
    entries = {row.service: row for row in rows}
    for service in sorted((entries.keys() | lines.keys()) - {FORCED}):
        row = entries.get(service, BreakerRow(service=service))
        numbers = lines.get(service, "").split("|")
        word, word_until = (numbers[5], int(numbers[6])) if len(numbers) == WORDS else ("", 0)
        forced = bool(word) and wall < word_until
        if service not in lines or (service not in entries and not forced):
            continue
        state, until = (BreakerState(word), float(word_until)) if forced else _state(row, wall)
        yield BreakerReport(
            service=ServiceName(service),
            state=state,
            forced=forced,
            since=float(row.closed_at if state is BreakerState.CLOSED else row.opened_at),
            until=until,
            requests=row.requests,
            failures=row.failures,
            opened=row.opened,
        )


def _state(row: BreakerRow, wall: float) -> tuple[BreakerState, float]:
    if not row.until or wall >= row.until + LINGER:
        return BreakerState.CLOSED, 0.0
    if wall >= row.until:
        return BreakerState.HALF_OPEN, 0.0
    return BreakerState.OPEN, float(row.until)
