r"""How much time a request has left: said by a policy, brought along by its caller, and passed on to whoever works for it.

A deadline is a moment, epoch milliseconds, and travels as the member `atoll.deadline` of the W3C header `baggage`, so a
service with OpenTelemetry passes it on without a change. It is the earliest of what came and of now plus the policy's
timeout: what a client or a service says can only make it earlier. A call of gRPC says its own in `grpc-timeout`, which is
taken like one that came and is told the rest. What comes too late is answered with `deadline-exceeded` and not sent on; the
rest bounds how long an instance is waited for, and is told to it as LEFT_HEADER.

A request that brings no baggage (a call of gRPC: and no `grpc-timeout`) and of which no policy says anything passes none
of these rules. Several baggage headers, and
one without room for ours, stay as they are: the deadline holds at this hop and is not passed on.
"""

from __future__ import annotations

from atoll.gateway.bound import Bound, Does, Named, Number, does
from atoll.gateway.problem import DEADLINE_EXCEEDED, MARK, refusal
from atoll.gateway.trace import BAGGAGE_LIMIT

MEMBER = "atoll.deadline"
RETRY_MEMBER = "atoll.retry"
"""Set by the hop that retries for all behind it (see `retries`)."""
ROOM = 64
"""Bytes that our members take at most."""
EXPIRED = "expired"
"""The mark of a request that came too late."""
LEFT_HEADER = "x-atoll-left-ms"
LEFT = "txn.left"
"""Milliseconds; not set: there is no deadline."""
MOST = 99_999_999
"""Milliseconds that `grpc-timeout` can say."""

CONDITIONS = "  acl bagged req.fhdr(baggage) -m found\n"
CALM = "!bagged"
"""The request brings no deadline."""
FOREIGN_CONDITIONS = f"""\
  acl ours req.fhdr(baggage) -m sub atoll.
  acl bulky req.fhdr(baggage) -m len gt {BAGGAGE_LIMIT}
"""
FOREIGN = "bagged !ours !bulky"
"""The request brings baggage that says nothing to us and goes on as it came."""
CALLS_CONDITIONS = f"{CONDITIONS}  acl hurried req.hdr(grpc-timeout) -m found\n"
CALLS_CALM = "!bagged !hurried"
"""Of a call of gRPC: neither that nor a time in its own header."""


def milliseconds(seconds: float | None) -> int:
    """A duration as a number of a line; none: 0."""
    return 0 if seconds is None else max(1, round(seconds * 1000))


def timeout_number(bound: Bound) -> int:
    """Milliseconds that the whole may take."""
    return milliseconds(bound.effective.policy.timeout)


def bits(bound: Bound) -> Does:
    """What is asked for."""
    return Does(0) if bound.effective.policy.timeout is None else Does.TIMED


NUMBERS: tuple[tuple[str, Number], ...] = (("timeout", timeout_number),)

_NOW = "date(0,ms)"
"""The clock stands still while a request passes these rules."""
_CAME = rf'var(txn.baggage),regsub("^(?:.*,)?[[:blank:]]*{MEMBER.replace(".", chr(92) + ".")}=([0-9]{{13}})[[:blank:]]*(?:[,;].*)?$","\1")'
_OTHERS = r'str(","),concat(,txn.baggage),regsub(",[[:blank:]]*atoll\.(?:deadline|retry)=[^,]*","",g)'
# Units are those that callers use for times that matter here; hours and minutes stay a text that is no number.
_GRPC = r'req.hdr(grpc-timeout),regsub("S$","000"),regsub("m$",""),regsub("[0-9]{3}u$",""),regsub("[0-9]{6}n$","")'


# Of a call of gRPC: its own deadline, as milliseconds from now.
_CALLS = rf"""  acl grpc var(txn.grpc) -m found
  http-request set-var(txn.grpc) '{_GRPC}' if hurried
  http-request unset-var(txn.grpc) if grpc !{{ var(txn.grpc) -m reg ^[0-9]{{1,11}}$ }}
  http-request set-var({LEFT}) var(txn.grpc),add(0) if grpc !bound or grpc {{ var(txn.grpc),sub({LEFT}) -m int lt 0 }}
"""
_CALLS_ON = f"""\
  http-request set-header grpc-timeout %[var({LEFT})]m if grpc {{ var({LEFT}),sub(txn.grpc) -m int lt 0 }} {{ var({LEFT}) -m int le {MOST} }}
"""


def own_rules(column: Named, *, calls: bool = False) -> str:
    """The time that is said, passed on by requests that bring nothing along. `calls`: of gRPC.

    `comes` is who brings something, until `brought_rules` have looked at it; then it is `laden`. The time itself was
    set with the verdict.
    """
    return f"""\
  acl brought var(txn.baggage) -m found
  acl comes var(txn.baggage) -m found
{f"  acl comes req.hdr(grpc-timeout) -m found{chr(10)}" if calls else ""}\
  acl bound var({LEFT}) -m found
  acl timed {does(Does.TIMED)}
  acl owner {does(Does.OWNER)}
  http-request set-var(txn.baggage) req.fhdr(baggage)
  http-request set-var({LEFT}) {column("timeout")},add(0) if timed
  http-request add-header {LEFT_HEADER} %[var({LEFT})] if bound !comes
  http-request add-header baggage {MEMBER}=%[{_NOW},add({LEFT})],{RETRY_MEMBER}=1 if owner bound !comes
  http-request add-header baggage {MEMBER}=%[{_NOW},add({LEFT})] if bound !owner !comes
  http-request add-header baggage {RETRY_MEMBER}=1 if owner !bound !comes
"""


def brought_rules(column: Named, *, calls: bool = False) -> str:
    """Of requests that bring something. `marked` is there afterwards: somebody before us retries."""
    dated = "bound" if calls else "dated"  # else the policy's own timeout was set with the verdict
    return f"""\
  acl laden var(txn.laden) -m found
  acl heavy var(txn.baggage) -m len gt {BAGGAGE_LIMIT}
  acl several var(txn.several) -m found
  acl dated var(txn.due) -m found
  acl marked var(txn.baggage) -m sub {RETRY_MEMBER}=
  acl crowded var(txn.others) -m len gt {BAGGAGE_LIMIT - ROOM}
  acl tried {does(Does.TRIED)}
  http-request set-var(txn.laden) bool(true) if comes
  http-request set-var(txn.several) bool(true) if brought {{ req.fhdr_cnt(baggage) gt 1 }}
  http-request del-header baggage if brought heavy
  http-request unset-var(txn.baggage) if brought heavy or several
  http-request set-var(txn.due) '{_CAME}' if brought
  http-request unset-var(txn.due) if dated !{{ var(txn.due) -m reg ^[0-9]{{13}}$ }}
  http-request set-var(txn.now) {_NOW} if laden
  http-request set-var(txn.rest) var(txn.due),sub(txn.now) if dated
  http-request set-var({LEFT}) var(txn.rest) if dated !bound or dated {{ var(txn.rest),sub({LEFT}) -m int lt 0 }}
{_CALLS if calls else ""}\
  http-request set-var({MARK}) str({EXPIRED}) if dated {{ var({LEFT}) -m int le 0 }}
{refusal(DEADLINE_EXCEEDED, f"dated {{ var({LEFT}) -m int le 0 }}")}
  http-request set-timeout server var({LEFT}) if laden {dated} {{ be_server_timeout,sub({LEFT}) -m int gt 0 }} or laden {dated} timed or laden {dated} tried
  http-request set-timeout server {column("try")} if laden {dated} tried {{ {column("try")},sub({LEFT}) -m int lt 0 }}
{_CALLS_ON if calls else ""}\
  http-request disable-l7-retry if laden bound policied {{ {column("whole")},sub({LEFT}) -m int gt 0 }}
  http-request add-header {LEFT_HEADER} %[var({LEFT})] if laden bound
  http-request set-var(txn.others) '{_OTHERS}' if brought bound or brought owner
  http-request set-var(txn.marking) 'str(",{RETRY_MEMBER}=1")' if laden owner or laden marked
  http-request set-header baggage {MEMBER}=%[var(txn.now),add({LEFT})]%[var(txn.marking)]%[var(txn.others)] if laden bound !several !crowded
  http-request set-header baggage {RETRY_MEMBER}=1%[var(txn.others)] if laden owner !bound !marked !several !crowded
"""
