"""The circuit breakers, kept by HAProxy alone: closed, open, half-open, by numbers of a map (`breaker_lines`).

While nothing failed anywhere for ATTENTION seconds and nothing is forced, a request pays two looks (`CALM`) and an
answer two (`UNASKED`). Only where answers must be looked at closer (slow calls, other statuses than 5xx) is each answer
looked at, and only there. A failure wakes the counting of its own scope: it and what is on its way then are not counted.
While anybody is awake, requests of scopes that did not fail pay for finding that out and no more. Each scope that is
counted has an entry in a table, and windows of its own length that begin with the first request after the last one ended.

An entry's numbers: `gpt` 0 until when it is open (epoch seconds; 0: closed), 1 when the window began, 2 when it opened
last, 3 when it closed last, 4 until when it is counted; `gpc` 0 requests and 1 failures of the window, 2 probes let through, 3 probes that succeeded,
4 times it opened, 5 requests it kept away, 6 slow answers of the window.
When it is due, each request takes the number of a probe; with the last one it is open for another term, so probes that
never end do not hold it. A service without instances answers at once and cannot be hurt: such answers are not counted,
and an open breaker is due from then on, so that the first instance that returns is tried at once. Two threads may let one probe more through. Due and not asked for LINGER seconds is closed.
"""

from __future__ import annotations

from atoll.gateway.bound import Does, does
from atoll.gateway.breaker_lines import FORCED, OF_CALLER, OF_SERVICE, SPECIAL
from atoll.gateway.config import BREAKERS, map_path
from atoll.gateway.limits import BUSY, FULL
from atoll.gateway.policies import column
from atoll.gateway.problem import BREAKER_OPEN, MARK, refusal
from atoll.gateway.quote import line, section
from atoll.model.breaker import WINDOW_CEILING, BreakerState

TABLE = "edge:breakers"
KEYS = 10_000
"""Scopes at most."""
KEY_BYTES = 160
"""Of a scope: `route:`, a route's name, `>` and a service's."""
ATTENTION = WINDOW_CEILING
"""Seconds after a failure in which requests are counted."""
FIRST_LOOK = 5
"""Seconds after the start of a process in which it is asked what was handed over."""
LINGER = 60
"""Seconds after which a breaker that is due, and that nobody asked, is closed."""
COUNTED = "txn.counted"
"""Set where the answer must be looked at whatever it is (see `budget`)."""
ASKED = "txn.awake"
"""Until when the scope is counted (0: it is not); set where something is wrong somewhere, and so each answer is looked at."""

_MAP = map_path(BREAKERS)
_SERVICE = "var(txn.at),field(4,|)"
_SCOPE = column("breaker")


def _number(at: int) -> str:
    """A number of the scope's line in the map."""
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

WATCH_RULES = f"""\
  acl guarded var(txn.breaker) -m found
  acl scoped {does(Does.SCOPED)}
  acl watched {does(Does.WATCHED)}
  http-request set-var(txn.breaker) {_SCOPE},map_str({_MAP}) if watched
  http-request set-var({COUNTED}) bool(true) if guarded
"""
"""Where a request has a policy: whether its answer must be looked at although nothing failed anywhere."""


def plain_rules(plain: str) -> str:
    """Something is wrong somewhere; of a `plain` request, of which nothing is said, its service is all there is to ask."""
    return f"""\
  acl named var(txn.scope) -m found
  acl asked var({ASKED}) -m found
  acl awake date(),sub({ASKED}) -m int lt 0
  acl newest var(txn.scope),strcmp(proc.failed) -m int eq 0
  acl newest_of_services {_SERVICE},strcmp(proc.failed) -m int eq 0
  http-request set-var({ASKED}) {_SERVICE},table_gpt(4,{TABLE}) if {plain}
  http-request allow if asked !awake !newest_of_services !worded !retried
"""


def asleep_rules(plain: str) -> str:
    """Something is wrong somewhere, but not in this scope: that ends it for a `plain` request.

    Whoever is not plain asks later (`REQUEST_RULES`), for it may be refused before, or nothing may be wrong anywhere.
    """
    return f"""\
  http-request set-var(txn.scope) {_SCOPE} if {plain} scoped
  http-request set-var(txn.scope) {_SERVICE} if {plain} !named
  http-request set-var({ASKED}) var(txn.scope),table_gpt(4,{TABLE}) if {plain}
  http-request allow if {plain} !guarded !awake !newest !worded !retried
"""


REQUEST_RULES = f"""\
  http-request set-var(txn.scope) {_SCOPE} if !named scoped
  http-request set-var(txn.scope) {_SERVICE} if !named
  http-request set-var({ASKED}) var(txn.scope),table_gpt(4,{TABLE}) if !asked
  acl ordered var(txn.order) -m found
  acl live date(),sub(txn.term) -m int lt 0
  http-request set-var(txn.breaker) var(txn.scope),map_str({_MAP}) if awake or newest
  http-request set-var(txn.order) var(txn.at),field(2,|),concat({OF_CALLER}),map_str({_MAP}) if worded
  http-request set-var(txn.term) var(txn.order),field(2,|),add(0) if ordered
  http-request set-var(txn.order) {_SERVICE},concat({OF_SERVICE}),map_str({_MAP}) if worded !live
  http-request set-var(txn.term) var(txn.order),field(2,|),add(0) if ordered
  http-request set-var(txn.word) var(txn.order),field(1,|) if live
  acl held var(txn.word) -m found
  http-request allow if !guarded !held !faulty
  http-request track-sc1 var(txn.scope) table {TABLE} if guarded or held
  http-request set-var(txn.until) sc_get_gpt(0,1)
  acl tripped var(txn.until) -m int gt 0
  acl due date(),sub(txn.until) -m int ge 0
  acl empty be_name,nbsrv -m int eq 0
  acl over var(txn.over) -m found
  acl numbered var(txn.probe) -m found
  acl turned_away var({MARK}) -m str open forced {BUSY} {FULL}
  http-request allow if !tripped !held !faulty
  http-request set-var(txn.reset) {_number(6)} if tripped
  http-request set-var(txn.over) bool(true) if tripped {{ sc_get_gpt(2,1),sub(txn.reset) -m int le 0 }}
  http-request set-var(txn.over) bool(true) if tripped {{ date(-{LINGER}),sub(txn.until) -m int ge 0 }}
  http-request sc-set-gpt(0,1) int(0) if over
  http-request sc-set-gpt(3,1) date() if over
{_clear("http-request", 0, 1, 2, 3, 6, when="over")}
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
  http-request set-var(txn.since) var(txn.until) if numbered
  http-request set-var(txn.probes) {_number(5)} if numbered
  http-request set-var(txn.open) {_number(4)} if numbered
  http-request set-var({MARK}) str(probe) if numbered
  http-request set-var({MARK}) str(open) if numbered {{ var(txn.probe),sub(txn.probes) -m int gt 0 }}
  http-request sc-set-gpt(0,1) date(),add(txn.open) if numbered {{ var(txn.probe),sub(txn.probes) -m int eq 0 }}
  http-request set-var(txn.cleared) sc_clr_gpc(2,1) if numbered {{ var(txn.probe),sub(txn.probes) -m int eq 0 }}
  http-request set-var(txn.wait) date(),sub(txn.until),neg if turned_away
  http-request set-var(txn.wait) int(1) if turned_away {{ var(txn.wait) -m int lt 1 }}
  http-request sc-inc-gpc(5,1) if turned_away
{refusal(BREAKER_OPEN, "turned_away")}
"""
"""Before a request is sent, when something is wrong somewhere."""

UNASKED = "!failed !guarded"
"""Of an answer: nothing for the breaker to count."""
MEASURE_RULES = f"""\
  acl special var(txn.breaker) -m end |{SPECIAL}
  acl bad var(txn.bad) -m found
  acl slow var(txn.slow) -m found
  http-after-response set-var(txn.bad) bool(true) if failed !special !turned_away
  http-after-response set-var(txn.status) status if special !turned_away
  http-after-response set-var(txn.bad) var(txn.breaker),field(9,|),concat(~,txn.status),map_str({_MAP}) if special !turned_away
  http-after-response set-var-fmt(txn.took) %Tr if special !turned_away
  http-after-response set-var(txn.limit) {_number(7)} if special !turned_away
  http-after-response set-var(txn.slow) bool(true) if special !turned_away {{ var(txn.took),sub(txn.limit) -m int ge 0 }}
"""
"""Whether the answer is a failure, or slow, by the measure of its scope."""
WAKE = ("bad", "slow")
"""Of an answer, each alone: from now on requests are counted."""

ANSWER_RULES = f"""\
  acl tracked var(txn.until) -m found
  http-after-response allow if !bad !slow !tracked
  http-after-response set-var(txn.scope) {_SCOPE} if !tracked scoped
  http-after-response set-var(txn.scope) {_SERVICE} if !named
  http-after-response set-var(proc.failed) var(txn.scope) if !tracked
  http-after-response allow if !tracked or turned_away or held or empty
  acl probing var({MARK}) -m beg probe
  acl healed var(txn.healed) -m found
  acl lapsed date(),sub(txn.began),sub(txn.window) -m int ge 0
  acl trip var(txn.trip) -m found
  http-after-response sc-inc-gpc(3,1) if probing !bad !slow
  http-after-response set-var(txn.healed) bool(true) if probing !bad !slow {{ sc_get_gpc(3,1),sub(txn.probes) -m int ge 0 }}
  http-after-response sc-set-gpt(0,1) int(0) if healed
  http-after-response sc-set-gpt(3,1) date() if healed
{_clear("http-after-response", 0, 1, 2, 3, 6, when="healed")}
  http-after-response allow if probing !bad !slow
  http-after-response set-var(txn.until) sc_get_gpt(0,1)
  http-after-response allow if tripped !probing
  http-after-response set-var(txn.window) {_number(3)}
  http-after-response set-var(txn.began) sc_get_gpt(1,1)
  http-after-response sc-set-gpt(1,1) date() if lapsed !probing
{_clear("http-after-response", 0, 1, 6, when="lapsed !probing")}
  http-after-response sc-inc-gpc(0,1) if !probing
  http-after-response allow if !bad !slow
  http-after-response sc-set-gpt(4,1) date({ATTENTION})
  http-after-response sc-inc-gpc(1,1) if !probing bad
  http-after-response sc-inc-gpc(6,1) if !probing slow
  http-after-response set-var(txn.late) {_number(8)} if slow
  http-after-response set-var(txn.errors) {_number(1)}
  http-after-response set-var(txn.least) {_number(2)}
  http-after-response set-var(txn.requests) sc_get_gpc(0,1)
  http-after-response set-var(txn.trip) bool(true) if probing or bad {{ var(txn.requests),sub(txn.least) -m int ge 0 }} {{ sc_get_gpc(1,1),mul(100),div(txn.requests),sub(txn.errors) -m int ge 0 }} or slow {{ var(txn.requests),sub(txn.least) -m int ge 0 }} {{ sc_get_gpc(6,1),mul(100),div(txn.requests),sub(txn.late) -m int ge 0 }}
  http-after-response allow if !trip or probing {{ sc_get_gpt(2,1),sub(txn.since) -m int ge 0 }}
  http-after-response set-var(txn.open) {_number(4)}
  http-after-response sc-set-gpt(0,1) date(),add(txn.open)
  http-after-response sc-set-gpt(2,1) date()
  http-after-response sc-set-gpt(4,1) date({ATTENTION}),add(txn.open)
  http-after-response sc-inc-gpc(4,1)
  http-after-response set-var(txn.cleared) sc_clr_gpc(2,1)
  http-after-response set-var(txn.cleared) sc_clr_gpc(3,1)
  http-after-response set-var(proc.attentive) date({ATTENTION}),add(txn.open) if {{ date({ATTENTION}),add(txn.open),sub(proc.attentive) -m int gt 0 }}
"""
"""What came back is counted."""


def breaker_section(peers: str) -> str:
    """The table of states, handed over at a reload by `peers`."""
    table = line(
        "stick-table",
        "type",
        "string",
        "len",
        str(KEY_BYTES),
        "size",
        str(KEYS),
        "expire",
        "2h",
        "peers",
        peers,
        "store",
    )
    return f"{section('backend', TABLE)}\n{table} gpt(5),gpc(7)\n"
