"""The retry budget: how many requests may be sent again, of all requests to a service. HAProxy keeps it by itself.

When an instance dies, retries hide it. When all fail, retries make it worse: every request comes three times, and at
each hop three times that. So at most a tenth of a service's requests of the last ten seconds is sent again (features:
Linkerd's budget is a fifth; F7 asks for a tenth), and always a few, for services with few requests.

HAProxy 2.8 has no number for a request's retries but `%rc` of the log, which a response rule may read, for as much as a
dozen other looks. So while nothing failed and nobody retried anything for a while (see `breaker.CALM`), only every answer of
500 or above is asked, and one in SAMPLE of the others, by lot: a retry that helped is noticed after SAMPLE of its kind,
fewer than are always allowed. From the first one noticed on, every request is counted. Attempts whose connection failed
are not counted against the service: they never reached it.
"""

from __future__ import annotations

from atoll.gateway.bound import Does, Named, does
from atoll.gateway.deadline import EXPIRED
from atoll.gateway.limits import LET_THROUGH
from atoll.gateway.problem import MARK
from atoll.gateway.quote import line, section

TABLE = "edge:retries"
WINDOW = 10
"""Seconds."""
SHARE = 10
"""One in so many requests."""
FLOOR = 20
"""Retries in the window that are always allowed."""
MARKED_FLOOR = 5
"""The same of requests that somebody before us retries (see `retries`): all that is allowed for them."""
SAMPLE = 16
"""One in so many answers is asked how often its request was sent, while nothing is wrong."""
KEYS = 10_000
"""Services at most; each has an entry only while something is retried: the first number counts retries, the second
requests."""

_MARKED = f"  http-request set-var(txn.budget) int({MARKED_FLOOR}) if laden_patient marked"
_TIMES = "var(txn.tries),ltrim(+),add(0)"


def patient_rules(column: Named) -> str:
    """Of requests whose tries may each take long: what all that are under way may still cost is counted beforehand, for
    nobody knows of a retry before the last answer.
    """
    return f"""\
  acl patient var(txn.times) -m found
  http-request set-var(txn.times) {column("times")},add(0) if {{ {does(Does.PATIENT)} }} !comes {LET_THROUGH}
{_counted_before("patient", column)}"""


def laden_patient_rules(column: Named) -> str:
    """The same of those that bring a deadline or a retry's owner along."""
    return f"""\
  acl laden_patient var(txn.laden_times) -m found
  http-request set-var(txn.times) {column("times")},add(0) if laden {{ {does(Does.PATIENT)} }}
  http-request set-var(txn.laden_times) bool(true) if laden patient
{_counted_before("laden_patient", column, _MARKED)}"""


def _counted_before(who: str, column: Named, *more: str) -> str:
    return "".join(
        f"{rule}\n"
        for rule in (
            f"  http-request track-sc2 var(txn.at),field(4,|) table {TABLE} if {who}",
            f"  http-request sc-inc-gpc(1,2) if {who}",
            f"  http-request set-var(txn.share) {column('budget')},add(0) if {who}",
            f"  http-request set-var(txn.budget) sc_gpc_rate(1,2),mul(txn.share),div(100),add({FLOOR}) if {who}",
            *more,
            f"  http-request set-var(txn.tied) sc_conn_cur(2),mul(txn.times),sub(txn.budget) if {who}",
            f"  http-request disable-l7-retry if {who} {{ sc_gpc_rate(0,2),add(txn.tied) -m int gt 0 }}",
        )
    )


def request_rules(column: Named) -> str:
    """Before a request is sent; a service whose budget is spent gets it once."""
    return f"""\
  http-request track-sc2 var(txn.at),field(4,|) table {TABLE} if retried
  http-request sc-inc-gpc(1,2) if retried !patient
  http-request set-var(txn.budget) sc_gpc_rate(1,2),div({SHARE}),add({FLOOR}) if retried
  http-request set-var(txn.share) {column("budget")},add(0) if retried policied
  http-request set-var(txn.budget) sc_gpc_rate(1,2),mul(txn.share),div(100),add({FLOOR}) if retried policied
  http-request set-var(txn.budget) int({MARKED_FLOOR}) if retried marked
  http-request disable-l7-retry if retried {{ sc_gpc_rate(0,2),sub(txn.budget) -m int ge 0 }}
"""


CONDITIONS = f"""\
  acl retried date(),sub(proc.retried) -m int lt {WINDOW}
"""

TRIES = f"""\
  acl failed status ge 500
  acl counted var(txn.counted) -m found
  acl counted var(txn.awake) -m found
  http-after-response allow if !failed !counted {{ rand({SAMPLE}) gt 0 }}
  http-after-response allow if {{ var({MARK}) -m str {EXPIRED} }}
  http-after-response set-var-fmt(txn.tries) %rc
  acl once var(txn.tries) -m str 0
"""
"""How often it was sent, of an answer that may matter; the others go on at once."""

ANSWER_RULES = f"""\
  http-after-response set-var(proc.retried) date() if !once
  http-after-response sc-add-gpc(0,2) {_TIMES} if !once
"""
"""What the request took is counted, whatever became of it."""


def budget_section() -> str:
    """The table of what was retried."""
    table = line("stick-table", "type", "string", "len", "64", "size", str(KEYS), "expire", "1m", "store")
    return f"{section('backend', TABLE)}\n{table} gpc(2),gpc_rate(2,{WINDOW}s),conn_cur\n"
