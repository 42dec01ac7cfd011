"""The way around a service that failed: the rules and sections that every request passes of which a fallback is said.

Its verdict (see `maps`) leads to the section DOOR, with the verdict proper behind it. DOOR has two servers, which are
frontends of the same HAProxy. `main`, the ATTEMPT, goes where the verdict proper leads, with everything that belongs there:
retries, breaker, limits. Of an answer that counts as failed it tells DOOR in headers what to do. A fixed answer DOOR gives
itself, whatever the request was. For the rest the ATTEMPT says 425, upon which HAProxy's own retry sends the same request to
`alt`. That is INSTEAD: it gives the copy of an answer, asks the other service, or gives the fixed answer when there was no
answer at all.

425 is the one status that DOOR retries on; a service's own passes as UNUSED between the two and becomes itself again. A
request that cannot be sent again (its body did not fit a buffer, or was not there in time) gets the failed answer; for it a
connection of its own is made, on which a broken one is told of (HAProxy says nothing when a later request of a connection
breaks off, and on DOOR's kept connections to ATTEMPT almost all are later ones; of the others the retry takes care). DOOR
counts no retries and knows no breaker: a fallback is no retry, and no budget stands in its way. INSTEAD never leads to DOOR:
a fallback has none itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from atoll.gateway import failover, injection, kept, request_log, trace
from atoll.gateway.config import DOOR, FALLBACKS, GRPC_DOOR, NOBODY, map_path
from atoll.gateway.fallback import FALLS
from atoll.gateway.limits import BUSY, FULL
from atoll.gateway.maps import REWRITTEN
from atoll.gateway.page import PAGE, giving
from atoll.gateway.problem import MARK, NO_FALLBACK, refusal
from atoll.gateway.quote import line, section
from atoll.model.fallback import FIRST_STATUS, SEGMENTS, Failure
from atoll.model.page import STATUSES, Page

ATTEMPT, INSTEAD, GIVEN = "edge:attempt", "edge:instead", "edge:given"
"""The frontends behind DOOR, and the section for what INSTEAD gives by itself."""
AGAIN = 425
"""The status upon which the same request is sent to INSTEAD."""
UNUSED = 499
"""Stands for a service's own AGAIN between ATTEMPT and DOOR; neither HTTP nor HAProxy knows it."""
SERVED = "fallback-"
"""What the mark of a request begins with that got one: `fallback-static:timeout`."""
BODY_LIMIT, BODY_WAIT = 15_000, 10_000
"""Bytes of a body that is held back to be sent again, and milliseconds, at most; one buffer."""
MESSAGE_WAIT = 50
"""Milliseconds in which a call of gRPC that may be sent again must have ended what it sends; others go on then, too."""
PATIENCE = "25h"
"""For what has timeouts of its own: above the longest one that can be said."""
POOLED = "1h"
"""Idle connections between the two are closed by DOOR, never by the other side."""

_MAP = map_path(FALLBACKS)
_WHO = "var(txn.at),field(7,|)"

_LINE = f"""\
  http-request set-var(txn.at) req.hdr(x-atoll-at)
  http-request set-var(txn.path) path
  http-request set-var(txn.trace) req.hdr(traceparent)
  http-request set-var(txn.caller) req.hdr(x-atoll-caller) if {{ req.hdr(x-atoll-caller) -m found }}
  http-request set-var(txn.line) {_WHO},map_str({_MAP})
  http-request del-header x-atoll- -m beg
"""
"""What DOOR said of a request."""

_AHEAD = f"""\
  balance first
  retries 1
  option redispatch 1
  retry-on conn-failure empty-response junk-response {AGAIN}
  http-reuse always
  timeout server {PATIENCE}
  http-request set-var(txn.at) var(txn.at),field(8,|,0)
  http-request set-header x-atoll-at %[var(txn.at)]
  http-request set-header x-atoll-caller %[var(txn.caller)] if {{ var(txn.caller) -m found }}
"""
_DOOR = f"""\
  http-request wait-for-body time {BODY_WAIT}ms if {{ req.hdr(content-length),add(0) -m int 1:{BODY_LIMIT} }}
  acl long req.hdr(content-length),add(0) -m int gt {BODY_LIMIT}
  acl sized req.hdr(content-length) -m found
  http-request disable-l7-retry if long or {{ method POST PUT PATCH }} !sized
  use-server fresh if long or {{ method POST PUT PATCH }} !sized
"""
# `wait-for-body` would answer 408 where a call is one of a stream that stays open. This condition never holds, but HAProxy
# only knows that when the body has ended, fills the buffer, or the time is over; then the call goes on.
_GRPC_DOOR = f"""\
  tcp-request inspect-delay {MESSAGE_WAIT}ms
  tcp-request content accept if {{ req.body -m len gt {1 << 30} }}
"""
_TOLD_TO_DOOR = f"""\
  acl failed res.hdr(x-atoll-status) -m found
  http-response set-var({MARK}) res.hdr(x-atoll-told)
"""
_OF_ATTEMPT = f"""\
  http-response set-status {AGAIN} if {{ status {UNUSED} }}
  http-response del-header x-atoll- -m beg if !failed
  http-response allow if !failed
  http-response set-var({PAGE}) res.hdr(x-atoll-page)
  http-response set-var(txn.later) res.hdr(retry-after) if !{{ var({MARK}) -m beg {SERVED}static }}
"""
_RESTORED = "".join(
    f"  http-response set-status {status} if {{ res.hdr(x-atoll-status) -m str {status} }}\n"
    for status in sorted(STATUSES)
    if status >= FIRST_STATUS
)

_FAILED = f"""\
  acl good status lt {FIRST_STATUS}
  acl answered var(txn.answered) -m found
  acl answered var({injection.STRUCK}) -m str abort
  acl wanted var(txn.then) -m found
  acl falls var(txn.then) -m str {FALLS}
  acl again var(txn.again) -m found
  acl fixed var(txn.line),field(2,|) -m len gt 0
  http-response del-header x-atoll- -m beg
  http-response set-var(txn.answered) bool(true) if !good
"""
_JUDGED = f"""\
  http-after-response set-var(txn.status) status
  http-after-response set-var-fmt(txn.ending) %ts
  http-after-response set-var(txn.failure) var(txn.status) if answered
  http-after-response set-var(txn.failure) str({Failure.BAD_ANSWER}) if !answered {{ status 502 }}
  http-after-response set-var(txn.failure) str({Failure.TIMEOUT}) if !answered {{ status 504 }}
  http-after-response set-var(txn.failure) str({Failure.UNREACHABLE}) if !answered {{ status 503 }}
  http-after-response set-var(txn.failure) str({Failure.NO_INSTANCE}) if !answered {{ status 503 }} {{ be_name,nbsrv eq 0 }}
  http-after-response set-var(txn.failure) str({Failure.OVER_LIMIT}) if !answered {{ status 429 }} or !answered {{ var(txn.ending) -m end Q }} or !answered {{ var({MARK}) -m str {BUSY} {FULL} }}
  http-after-response set-var(txn.failure) str({Failure.BREAKER_OPEN}) if !answered {{ var({MARK}) -m str open forced }}
  http-after-response set-var(txn.then) {_WHO},concat(~,txn.failure),map_str({_MAP})
  http-after-response set-status {UNUSED} if {{ status {AGAIN} }} !wanted
"""
_TOLD = f"""\
  http-after-response allow if !wanted
  http-after-response set-header x-atoll-status %[var(txn.status)]
  http-after-response set-header x-atoll-page %[var(txn.then)] if !falls
  http-after-response allow if !falls
  http-after-response set-header x-atoll-page %[var(txn.line),field(2,|)] if fixed
  http-after-response set-header x-atoll-told {SERVED}static:%[var(txn.failure)]@@0 if fixed
  http-after-response set-var(txn.again) bool(true) if {{ var(txn.line),field(1,|) -m sub s }}
"""

_REWRITES = f"""\
  acl rewrite var(txn.at) -m end r rt rp rtp
  http-request set-path '{REWRITTEN}' if rewrite
  http-request set-var(txn.path) path
"""
_SEGMENTS = ",".join(
    rf'regsub("\{{{number}\}}(?=[^^]*\^(?:/[^/^]*){{{number - 1}}}/([^/^&=#+{{}}]*))","\1",g)'
    for number in range(1, SEGMENTS + 1)
)
_OTHER = (
    _REWRITES
    + rf"""  acl mapped var(txn.to) -m len gt 0
  acl queried var(txn.to) -m sub ?
  http-request set-var(txn.to) 'var(txn.line),field(4,|),concat(^,txn.path),{_SEGMENTS},field(1,^),regsub("\{{.\}}","",g)'
  http-request set-path %[var(txn.to)] if mapped !queried
  http-request set-pathq %[var(txn.to)] if mapped queried
  http-request set-var(txn.owner) var(txn.at),field(4,|)
  http-request set-var(txn.at) var(txn.line),field(5,|,0)
"""
)
_BELOW = trace.BELOW.format(when="request") + "  http-request set-header traceparent %[var(txn.trace)]\n"
_GIVEN = """\
  acl asked var(txn.owner) -m found
  acl nothing var(txn.nothing) -m found
  http-response del-header x-atoll- -m beg
  http-after-response set-var(txn.status) status
  http-after-response set-var(txn.given) str(service) if asked
  http-after-response set-var(txn.given) str(static) if { var(txn.page) -m len gt 0 } !nothing
"""
_TOLD_OF = f"""\
  acl given var(txn.given) -m found
  http-after-response set-header x-fallback %[var(txn.given)] if given
  http-after-response set-header x-atoll-told {SERVED}%[var(txn.given)]@@0 if given
"""


def door_section(attempt: Path, instead: Path, pages: Iterable[Page], *, fails_over: bool) -> str:
    """The section."""
    rules = f"""\
{section("backend", DOOR, "from", "base")}
{_AHEAD}{_DOOR}{_TOLD_TO_DOOR}{failover.BESIDE if fails_over else ""}{_OF_ATTEMPT}{giving("http-response", pages)}{_RESTORED}\
  http-response del-header x-atoll- -m beg
  http-after-response set-header x-fallback static if {{ var({MARK}) -m beg {SERVED}static }}
  http-after-response set-header retry-after %[var(txn.later)] if {{ var(txn.later) -m found }}
"""
    servers = [
        line("server", "main", f"unix@{attempt}"),
        line("server", "alt", f"unix@{instead}"),
        line("server", "fresh", f"unix@{attempt}", "weight", "0", "max-reuse", "0", "pool-max-conn", "0"),
    ]
    return rules + "\n".join([*servers, ""])


def grpc_door_section(attempt: Path, instead: Path, *, fails_over: bool) -> str:
    """The section for calls of gRPC, in which both ways are HTTP/2: their trailers and errors without a message pass.

    HAProxy only sends a call again of which it had all when it sent it, so one of a stream of messages is not, and gets
    the failed answer.
    """
    rules = f"""\
{section("backend", GRPC_DOOR, "from", "base")}
{_AHEAD}{_GRPC_DOOR}{_TOLD_TO_DOOR}{failover.BESIDE if fails_over else ""}{_OF_ATTEMPT}{_RESTORED}\
  http-response del-header x-atoll- -m beg
  http-after-response set-header retry-after %[var(txn.later)] if {{ var(txn.later) -m found }}
"""
    ways = (("main", attempt), ("alt", instead))
    return rules + "\n".join([*(line("server", name, f"unix@{path}", "proto", "h2") for name, path in ways), ""])


def attempt_frontend(socket: Path, *, copies: bool, logged: bool) -> str:
    """Where every request behind DOOR goes first; `copies`: last good answers are kept."""
    silent = "  http-after-response set-log-level silent if {}\n" if logged else ""
    return f"""\
{_frontend(ATTEMPT, socket)}\
{request_log.inside_format("attempt") if logged else ""}\
{_LINE}{kept.CONDITIONS + kept.ASKING + kept.LEARNING if copies else ""}{_FAILED}{kept.STORING if copies else ""}\
  http-after-response set-header x-atoll-told %[var({MARK})]@%s@%rc
{silent.format("good")}\
  http-after-response allow if good
{_JUDGED}{silent.format("!falls")}{trace.BELOW.format(when="after-response") if logged else ""}{_TOLD}\
{kept.looking("http-after-response") + kept.COPY_KNOWN if copies else ""}\
  http-after-response set-status {AGAIN} if again
  use_backend %[var(txn.at),field(3,|)]
  default_backend {NOBODY}
"""


def instead_frontend(socket: Path, *, copies: bool, logged: bool) -> str:
    """Where a request goes when the attempt failed."""
    return f"""\
{_frontend(INSTEAD, socket)}\
{request_log.inside_format("instead") if logged else ""}\
{_LINE}{kept.CONDITIONS + kept.ASKING + kept.looking("http-request") + kept.GIVING if copies else ""}\
  acl other var(txn.line),field(1,|) -m sub s
  http-request set-var({PAGE}) var(txn.line),field(2,|) if !other
  http-request allow if !other
{_OTHER}{_BELOW if logged else ""}{_GIVEN}\
{kept.GIVEN if copies else ""}{_TOLD_OF}{"  http-after-response set-log-level silent if !asked" if logged else ""}
  use_backend %[var(txn.at),field(3,|)] if asked
  default_backend {GIVEN}
"""


def given_section(pages: Iterable[Page]) -> str:
    """What INSTEAD gives by itself when there is no copy and no other service."""
    return f"""\
{section("backend", GIVEN, "from", "base")}
{giving("http-request", pages)}\
  http-request set-var(txn.nothing) bool(true)
{refusal(NO_FALLBACK, "TRUE")}
"""


def _frontend(name: str, socket: Path) -> str:
    head = [section("frontend", name, "from", "base"), line("bind", f"unix@{socket}", "mode", "600")]
    return "\n".join([*head, line("timeout", "http-keep-alive", POOLED), ""])
