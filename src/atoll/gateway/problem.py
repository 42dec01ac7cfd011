"""What HAProxy itself answers: RFC 9457 problem+json, each with a stable code and the reason by name.

Only what HAProxy refuses before it has read a request (bad syntax, a slow header) stays its own HTML: 2.8 cannot
change that.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.gateway.quote import line
from atoll.gateway.trace import TRACE_ID

_PATH = "%[var(txn.path),json(utf8s)]"
_SERVICE = "%[var(txn.at),field(4,|),json(utf8s)]"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One kind of refusal. The texts are ours and may hold HAProxy's `%[…]`."""

    status: int
    code: str
    title: str
    detail: str
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
            f'"path":"{_PATH}"',
        ]
        if self.service:
            members.append(f'"service":"{_SERVICE}"')
        return "{" + ",".join(members) + "}"

    def words(self) -> list[str]:
        """Status, type, body and headers, as `http-error` and `http-request return` take them."""
        words = ["status", str(self.status), "content-type", "application/problem+json", "lf-string", self.body()]
        for name, value in (("cache-control", "no-store"), *self.headers):
            words += ["hdr", name, value]
        return words


def error_page(answer: Answer) -> str:
    """What HAProxy answers where it would use its own page for this status."""
    return line("http-error", *answer.words())


def refusal(answer: Answer, condition: str) -> str:
    """A rule that answers when `condition`, which is ours and not quoted, holds."""
    return f"{line('http-request', 'return', *answer.words())} if {condition}"


def with_trace_id(text: str) -> str:
    """The configuration `text` with a member `trace_id` in every problem document."""
    return text.replace(f'"path":"{_PATH}"', f'"path":"{_PATH}","trace_id":"{TRACE_ID}"')


def retry(seconds: int) -> tuple[tuple[str, str], ...]:
    """The header that asks a caller to come back."""
    return (("retry-after", str(seconds)),)


_UNREACHABLE = "Its instances are up, but none could be reached"
_EMPTY = "None of its instances is ready"

PAGES = (
    Answer(
        status=400, code="bad-request", title="Bad request", detail="This is not a valid HTTP request",
    ),
    Answer(
        status=403, code="header-refused", title="Forbidden",
        detail="A header name holds other characters than letters, digits and dashes",
    ),
    Answer(status=404, code="not-found", title="Not found", detail="There is nothing here"),
    Answer(status=405, code="method-not-allowed", title="Method not allowed", detail="Not with this method"),
    Answer(status=408, code="request-timeout", title="Request timeout", detail="The request took too long to arrive"),
    Answer(status=413, code="too-large", title="Too large", detail="The request's body is over the limit"),
    Answer(status=429, code="too-many-requests", title="Too many requests", detail="Slow down", headers=retry(1)),
    Answer(status=500, code="internal", title="Internal error", detail="The gateway failed"),
    Answer(
        status=502, code="upstream-answer", title="Bad gateway", service=True,
        detail="The instance closed without an answer, or its answer is not valid HTTP",
    ),
    Answer(
        status=503, code="%[be_name,nbsrv,bool,iif(upstream-unreachable,no-instance)]", title="Service unavailable",
        service=True, detail=f'%[be_name,nbsrv,bool,iif("{_UNREACHABLE}","{_EMPTY}")]', headers=retry(1),
    ),
    Answer(
        status=504, code="upstream-timeout", title="Gateway timeout", service=True,
        detail="The instance did not answer in time",
    ),
)  # fmt: skip
"""In place of HAProxy's own pages."""

HOST_REFUSED = Answer(
    status=400, code="host-refused", title="Bad request", detail="There is no Host, or it is not a host name"
)
PATH_REFUSED = Answer(
    status=400, code="path-refused", title="Bad request",
    detail="The path holds an encoded slash, a backslash or another sequence that servers read differently",
)  # fmt: skip
NO_ROUTE = Answer(
    status=404, code="no-route", title="No route", detail="No route takes this host, path and these headers"
)
METHOD_NOT_ALLOWED = Answer(
    status=405, code="method-not-allowed", title="Method not allowed",
    detail="Routes take this host and path, but not with this method", headers=(("allow", "%[var(txn.allow)]"),),
)  # fmt: skip
BREAKER_OPEN = Answer(
    status=503, code="breaker-open", title="Circuit breaker open", service=True,
    detail="It is kept from requests for a while: it failed too often, or an operator said so",
    headers=(("retry-after", "%[var(txn.wait)]"),),
)  # fmt: skip
UNKNOWN_SERVICE = Answer(
    status=503, code="unknown-service", title="Unknown service",
    detail="No service of this name (Host, /svc/NAME/ or port) is registered", headers=retry(1),
)  # fmt: skip
