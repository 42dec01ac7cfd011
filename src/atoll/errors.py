"""One shallow tree of what can go wrong, each with a stable code, an HTTP status, an exit code and a hint.

The code is part of the API: it never changes its meaning. The tree is translated once, at the door: to RFC 9457
problem+json by the server, to `error:`/`hint:` lines by the CLI.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar


class Origin(StrEnum):
    """Where an error came to be: who has to change something."""

    CLIENT = "client"
    """The request itself: as it is, it will never be taken."""
    GATEWAY = "gateway"
    """The platform: gateway, mesh, control plane or telemetry."""
    NETWORK = "network"
    """An instance is believed to be there and could not be reached."""
    BREAKER = "breaker"
    """A circuit breaker is open."""
    TIMEOUT = "timeout"
    """Somebody took longer than they may."""
    LIMIT = "limit"
    """A stated limit was reached: of size, rate or room."""
    SERVICE = "service"
    """The service that the request was for."""


class AtollError(Exception):
    """The root; `code`, `status` and `exit_code` belong to the class, `detail`, `hint` and `fields` to the case."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    title: ClassVar[str] = "Internal error"
    origin: ClassVar[Origin | None] = None
    """None: as the status says, client (4xx) or gateway."""
    retryable: ClassVar[bool] = False
    """Whether exactly the same may go better later."""

    def __init__(self, detail: str, *, hint: str | None = None, **fields: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.fields = fields

    def problem(self) -> dict[str, Any]:
        """This error as an RFC 9457 problem document; `code`, `hint` and the fields are extension members."""
        document: dict[str, Any] = {
            "type": f"urn:atoll:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "origin": self.origin or (Origin.CLIENT if self.status < 500 else Origin.GATEWAY),
            "retryable": self.retryable,
        }
        if self.hint:
            document["hint"] = self.hint
        return {**document, **{key: value for key, value in self.fields.items() if key not in document}}


class InvalidName(AtollError):
    """A name does not follow its grammar."""

    code, status, exit_code, title = "invalid-name", 422, 2, "Invalid name"


class InvalidValue(AtollError):
    """A value is of the wrong type or outside its stated limits."""

    code, status, exit_code, title = "invalid-value", 422, 2, "Invalid value"


class AddressForbidden(AtollError):
    """An endpoint that nobody may register: link-local, metadata, unspecified, a DNS name, a unix path."""

    code, status, exit_code, title = "address-forbidden", 422, 2, "Address forbidden"


class EndpointInUse(AtollError):
    """Another instance already answers at this host and port."""

    code, status, title = "endpoint-in-use", 409, "Endpoint in use"


class StillInUse(AtollError):
    """It cannot go while others depend on it."""

    code, status, title = "still-in-use", 409, "Still in use"


class RouteConflict(AtollError):
    """Another route accepts exactly the same requests."""

    code, status, title = "route-conflict", 409, "Route conflict"


class LimitReached(AtollError):
    """A stated limit on the number of things is reached; a setting raises it."""

    code, status, title = "limit-reached", 409, "Limit reached"
    origin = Origin.LIMIT


class LeaseConflict(AtollError):
    """The lease that was shown belongs to an older registration of this id; a newer one holds it."""

    code, status, title = "lease-conflict", 409, "Lease conflict"


class LeaseExpired(AtollError):
    """The lease that was shown is no longer known; register again."""

    code, status, title = "lease-expired", 410, "Lease expired"


class NotFound(AtollError):
    """There is no such thing."""

    code, status, title = "not-found", 404, "Not found"


class Conflict(AtollError):
    """A compare-and-set found another revision than expected; read again and decide anew."""

    code, status, title = "revision-conflict", 412, "Revision conflict"


class Compacted(AtollError):
    """The history that was asked for is gone; list, then watch from the listed revision."""

    code, status, title = "compacted", 410, "History compacted"


class Resync(AtollError):
    """The watcher fell behind its limit; list, then watch from the listed revision."""

    code, status, title = "resync", 410, "Watcher must resync"


class StorageFull(AtollError):
    """No room on disk: writes are refused, reads, watches and renewals go on; heals when room is made."""

    code, status, title = "storage-full", 507, "Storage full"
    origin = Origin.LIMIT
    retryable = True


class StorageFailed(AtollError):
    """The disk did not keep what it was told: nothing more is acknowledged and the process must end."""

    code, status, title = "storage-failed", 503, "Storage failed"


class StorageIncompatible(AtollError):
    """The file on disk was written by a newer atoll, or is not ours."""

    code, status, title = "storage-incompatible", 500, "Storage incompatible"


class AlreadyRunning(AtollError):
    """Another process holds this directory."""

    code, status, title = "already-running", 409, "Already running"


class Unauthorized(AtollError):
    """No token, or not one we know."""

    code, status, title = "unauthorized", 401, "Unauthorized"


class Forbidden(AtollError):
    """The Host or Origin of the request is not ours, or the token may not do this."""

    code, status, title = "forbidden", 403, "Forbidden"


class TokenUnsafe(AtollError):
    """The token file can be read by others, or does not hold a token."""

    code, status, title = "token-unsafe", 500, "Token file unsafe"


class BadRequest(AtollError):
    """The request cannot be read: not JSON, wrong content, too deep."""

    code, status, exit_code, title = "bad-request", 400, 2, "Bad request"


class RequestTimeout(AtollError):
    """The request's body did not arrive in time."""

    code, status, title = "request-timeout", 408, "Request timeout"
    origin = Origin.TIMEOUT
    retryable = True


class MethodNotAllowed(AtollError):
    """The path exists, but not with this method."""

    code, status, exit_code, title = "method-not-allowed", 405, 2, "Method not allowed"


class TooLarge(AtollError):
    """A body or value is over its stated limit."""

    code, status, title = "too-large", 413, "Too large"
    origin = Origin.LIMIT


class HeadersTooLarge(AtollError):
    """The request line and headers are over their stated limits."""

    code, status, title = "headers-too-large", 431, "Headers too large"
    origin = Origin.LIMIT


class Overloaded(AtollError):
    """A stated limit of work in progress is reached; `retry_after` seconds later may go better."""

    code, status, title = "overloaded", 503, "Overloaded"
    origin = Origin.LIMIT
    retryable = True


class PortTaken(AtollError):
    """Somebody else listens on a port that we need."""

    code, status, title = "port-taken", 409, "Port taken"


class OriginConflict(AtollError):
    """A fact of this name, or a route with this match, belongs to another project or to somebody's hand."""

    code, status, title = "origin-conflict", 409, "Belongs to somebody else"


class ProjectInvalid(AtollError):
    """The project cannot be used; `errors` lists every finding (`project.finding.Finding` as JSON), all at once."""

    code, status, exit_code, title = "project-invalid", 422, 2, "Project invalid"


class ProgramMissing(AtollError):
    """A program that is needed cannot be found or started."""

    code, status, title = "program-missing", 500, "Program missing"


class GatewayRefused(AtollError):
    """HAProxy did not accept a configuration or command; the last good one stays."""

    code, status, title = "gateway-refused", 500, "Gateway refused"


class Unreachable(AtollError):
    """The platform does not answer."""

    code, status, title = "unreachable", 503, "Platform unreachable"
    origin = Origin.NETWORK
    retryable = True


class TelemetryUnavailable(AtollError):
    """Traces, logs and metrics cannot be asked for now; everything else works."""

    code, status, title = "telemetry-unavailable", 503, "Telemetry unavailable"
    retryable = True


class Stale(AtollError):
    """What is known is older than the caller said it may be; the control plane has not been heard since."""

    code, status, title = "stale", 503, "Knowledge too old"
    retryable = True


class NotReady(AtollError):
    """Something was waited for and did not become ready in time."""

    code, status, exit_code, title = "not-ready", 503, 3, "Not ready"
    origin = Origin.TIMEOUT
    retryable = True
