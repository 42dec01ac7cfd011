"""What HAProxy itself answers: RFC 9457 problem+json, each with a stable code and the reason by name.

`ANSWERS` is the one table of codes: each with its status, who it was (`origin`) and whether the same request may go
better later (`retryable`). An answer that a service gives passes untouched, whatever its status.

Only what HAProxy refuses before it has read a request (bad syntax, a slow header) stays its own HTML: 2.8 cannot
change that.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.errors import Origin
from atoll.gateway.config import EMPTIED, map_path
from atoll.gateway.quote import line
from atoll.gateway.trace import TRACE_ID

RETRYABLE = "txn.retryable"
"""The text `false`, for a request that must not be sent again once an instance has had it; else not set."""
MARK = "txn.mark"
"""What was done with a request that was not just sent on, as a word for the request log; not set: nothing."""
_PATH = "%[var(txn.path),json(utf8s)]"
_NAME = "%[var(txn.at),field(4,|)]"
_SERVICE = "%[var(txn.at),field(4,|),json(utf8s)]"
_GRPC = {502: "14", 503: "14", 504: "4"}
"""UNAVAILABLE and DEADLINE_EXCEEDED, by the status of HTTP."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One kind of refusal. The texts are ours and may hold HAProxy's `%[…]`."""

    status: int
    code: str
    title: str
    detail: str
    origin: str
    """An `Origin`, or an expression that gives one."""
    retryable: str = "false"
    """A JSON boolean, or an expression that gives one: whether the same request may go better later, and does no harm."""
    codes: tuple[str, ...] = ()
    """What `code` can be, when it is an expression."""
    passing: bool = False
    """Whether it says how many instances take requests."""
    service: bool = False
    """Whether it concerns the service that the request was for."""
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> str:
        """The problem document, as a log-format string."""
        members = [
            f'"type":"urn:atoll:error:{self.code}"',
            f'"title":"{self.title}"',
            f'"status":{self.status}',
            f'"detail":"{self.detail}"',
            f'"code":"{self.code}"',
            f'"instance":"{_PATH}"',
            f'"origin":"{self.origin}"',
            f'"retryable":{self.retryable}',
        ]
        if self.passing:
            members.append(f'"passing":{_PASSING}{_EMPTIED}')
        if self.service:
            members.append(f'"service":"{_SERVICE}"')
        return "{" + ",".join(members) + "}"

    def words(self) -> list[str]:
        """Status, type, body and headers, as `http-error` and `http-request return` take them."""
        words = ["status", str(self.status), "content-type", "application/problem+json", "lf-string", self.body()]
        for name, value in (("cache-control", "no-store"), *self.headers):
            words += ["hdr", name, value]
        return words

    def trailers(self) -> list[str]:
        """The same to a client of gRPC: no body, which it could not read, and a status that it has words for.

        The status of HTTP stays, for breakers, logs and clients that go by it.
        """
        words = ["status", str(self.status)]
        message = f"{self.code}{f' ({_NAME})' if self.service else ''}: {self.detail}"
        told = (("content-type", "application/grpc"), ("grpc-status", _GRPC[self.status]), ("grpc-message", message))
        for name, value in (*told, ("cache-control", "no-store"), *self.headers):
            words += ["hdr", name, value]
        return words


def error_page(answer: Answer) -> str:
    """What HAProxy answers where it would use its own page for this status."""
    return line("http-error", *answer.words())


def refusal(answer: Answer, condition: str) -> str:
    """A rule that answers when `condition`, which is ours and not quoted, holds."""
    return f"{line('http-request', 'return', *answer.words())} if {condition}"


def grpc_pages() -> list[str]:
    """What HAProxy answers calls of gRPC where it would use its own pages: those that are about the service."""
    return [line("http-error", *answer.trailers()) for answer in PAGES if answer.service]


def to_grpc(rules: str) -> str:
    """The rules of a section, with refusals that clients of gRPC understand."""
    for answer in ANSWERS:
        if answer.status in _GRPC:
            rules = rules.replace(
                line("http-request", "return", *answer.words()), line("http-request", "return", *answer.trailers())
            )
    return rules


def with_trace_id(text: str) -> str:
    """The configuration `text` with a member `trace_id` in every problem document."""
    return text.replace(f'"instance":"{_PATH}"', f'"instance":"{_PATH}","trace_id":"{TRACE_ID}"')


def retry(seconds: int) -> tuple[tuple[str, str], ...]:
    """The header that asks a caller to come back."""
    return (("retry-after", str(seconds)),)


_YES = "true"
_PASSING = "%[be_name,nbsrv]"
_EMPTIED = f"%[be_name,map_str({map_path(EMPTIED)}),b64dec]"
"""Of how many and since when, when none passes: members that begin with a comma (see `emptied`), or nothing."""
_HARMLESS = f"%[var({RETRYABLE},true)]"
"""The instance may have done its work: only what may be repeated can be told to be. No `regsub` here: HAProxy 2.8
crashes on one in `http-error`.
"""
_UNREACHABLE = "Its instances are up, but none could be reached"
_EMPTY = "None of its instances is ready"
_NO_ROOM = "None of its instances had room within the time that a request may wait"


def _why(empty: str, reached: str, waited: str) -> str:
    """One text when no instance passes, another when one was chosen, a third when none had room in time."""
    return (
        '%[srv_id,bool,set-var(txn.picked),iif("","")]'
        f'%[be_name,nbsrv,bool,set-var(txn.manned),iif("","{empty}")]'
        f'%[var(txn.picked,0),and(txn.manned),bool,iif("{reached}","")]'
        f'%[var(txn.picked,0),not,and(txn.manned),bool,iif("{waited}","")]'
    )


PAGES = (
    Answer(
        status=400, code="bad-request", title="Bad request", origin=Origin.CLIENT,
        detail="This is not a valid HTTP request",
    ),
    Answer(
        status=403, code="header-refused", title="Forbidden", origin=Origin.CLIENT,
        detail="A header name holds other characters than letters, digits and dashes",
    ),
    Answer(
        status=404, code="not-found", title="Not found", origin=Origin.CLIENT, detail="There is nothing here",
    ),
    Answer(
        status=405, code="method-not-allowed", title="Method not allowed", origin=Origin.CLIENT,
        detail="Not with this method",
    ),
    Answer(
        status=408, code="request-timeout", title="Request timeout", origin=Origin.TIMEOUT, retryable=_YES,
        detail="The request took too long to arrive",
    ),
    Answer(
        status=413, code="too-large", title="Too large", origin=Origin.LIMIT,
        detail="The request's body is over the limit",
    ),
    Answer(
        status=429, code="too-many-requests", title="Too many requests", origin=Origin.LIMIT, retryable=_YES,
        detail="Slow down", headers=retry(1),
    ),
    Answer(
        status=500, code="internal", title="Internal error", origin=Origin.GATEWAY, detail="The gateway failed",
    ),
    Answer(
        status=502, code="upstream-answer", title="Bad gateway", origin=Origin.SERVICE, retryable=_HARMLESS,
        service=True, detail="The instance closed without an answer, or its answer is not valid HTTP",
    ),
    Answer(
        status=503, code=_why("no-instance", "upstream-unreachable", "queue-timeout"),
        codes=("no-instance", "upstream-unreachable", "queue-timeout"),
        title="Service unavailable", origin=_why(Origin.SERVICE, Origin.NETWORK, Origin.LIMIT), retryable=_YES, passing=True,
        service=True, detail=_why(_EMPTY, _UNREACHABLE, _NO_ROOM), headers=retry(1),
    ),
    Answer(
        status=504, code="upstream-timeout", title="Gateway timeout", origin=Origin.TIMEOUT, retryable=_HARMLESS,
        service=True, detail="The instance did not answer in time",
    ),
)  # fmt: skip
"""In place of HAProxy's own pages."""

HOST_REFUSED = Answer(
    status=400, code="host-refused", title="Bad request", origin=Origin.CLIENT,
    detail="There is no Host, or it is not a host name",
)  # fmt: skip
PATH_REFUSED = Answer(
    status=400, code="path-refused", title="Bad request", origin=Origin.CLIENT,
    detail="The path holds an encoded slash, a backslash or another sequence that servers read differently",
)  # fmt: skip
NO_ROUTE = Answer(
    status=404, code="no-route", title="No route", origin=Origin.CLIENT,
    detail="No route takes this host, path and these headers",
)  # fmt: skip
METHOD_NOT_ALLOWED = Answer(
    status=405, code="method-not-allowed", title="Method not allowed", origin=Origin.CLIENT,
    detail="Routes take this host and path, but not with this method", headers=(("allow", "%[var(txn.allow)]"),),
)  # fmt: skip
BREAKER_OPEN = Answer(
    status=503, code="breaker-open", title="Circuit breaker open", origin=Origin.BREAKER, retryable=_YES, service=True,
    detail="It is kept from requests for a while: it failed too often, or an operator said so",
    headers=(("retry-after", "%[var(txn.wait)]"),),
)  # fmt: skip
IN_MAINTENANCE = Answer(
    status=503, code="maintenance", title="In maintenance", origin=Origin.SERVICE, retryable=_YES, service=True,
    detail="An operator took the service out of the traffic",
    headers=(("retry-after", "%[var(txn.wait)]"),),
)  # fmt: skip
INJECTED = Answer(
    status=503, code="fault-injected", title="Injected fault", origin=Origin.GATEWAY, service=True,
    detail="An operator asked for this failure: atoll fault list",
)  # fmt: skip
"""Its status is what the fault says."""
DEADLINE_EXCEEDED = Answer(
    status=504, code="deadline-exceeded", title="Deadline exceeded", origin=Origin.TIMEOUT, service=True,
    detail="The time that its caller had for it was over when it came: it was not sent on",
)  # fmt: skip
TOO_BUSY = Answer(
    status=503, code="too-busy", title="Too busy", origin=Origin.LIMIT, retryable=_YES, service=True,
    detail="%[var(txn.limit)] requests are under way; no more are let through at once",
    headers=(("retry-after", "%[var(txn.wait)]"),),
)  # fmt: skip
QUEUE_FULL = Answer(
    status=503, code="queue-full", title="Queue full", origin=Origin.LIMIT, retryable=_YES, service=True, passing=True,
    detail="No instance has room, and as many requests wait as may",
    headers=(("retry-after", "%[var(txn.wait)]"),),
)  # fmt: skip
NO_FALLBACK = Answer(
    status=503, code="no-fallback", title="Service unavailable", origin=Origin.SERVICE, retryable=_YES, service=True,
    detail="The service failed, and what should be given in its place is not there any more", headers=retry(1),
)  # fmt: skip
UNKNOWN_SERVICE = Answer(
    status=503, code="unknown-service", title="Unknown service", origin=Origin.SERVICE, retryable=_YES,
    detail="No service of this name (Host, /svc/NAME/ or port) is registered", headers=retry(1),
)  # fmt: skip

ANSWERS = (
    *PAGES,
    HOST_REFUSED,
    PATH_REFUSED,
    NO_ROUTE,
    METHOD_NOT_ALLOWED,
    BREAKER_OPEN,
    DEADLINE_EXCEEDED,
    IN_MAINTENANCE,
    INJECTED,
    TOO_BUSY,
    QUEUE_FULL,
    NO_FALLBACK,
    UNKNOWN_SERVICE,
)
"""Everything that gateway and mesh answer by themselves."""
