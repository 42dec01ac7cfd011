"""Errors at the door: every refusal becomes RFC 9457 problem+json, is counted by code, and is logged once per window.

What we did not expect becomes 500 with code `internal`; its traceback goes to the log, never to the client.
"""

from __future__ import annotations

import traceback

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from atoll.errors import (
    AtollError,
    BadRequest,
    LeaseExpired,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    StorageFull,
    TelemetryUnavailable,
    Unauthorized,
)
from atoll.kit.clock import Clock, Instant
from atoll.kit.logs import Log
from atoll.kit.text import scrub
from atoll.server.control import Counts

MEDIA = "application/problem+json"
WINDOW = 60.0
"""Seconds in which refusals of one code are logged once, with their number."""
log = Log("api")


def as_error(error: Exception) -> AtollError:
    """Any exception as one of ours."""
    if isinstance(error, AtollError):
        return error
    if isinstance(error, HTTPException):
        if error.status_code == MethodNotAllowed.status:
            return MethodNotAllowed("this path does not take that method", hint="GET /api/v1/openapi.json lists them")
        if error.status_code == NotFound.status:
            return NotFound("there is no such path", hint="GET /api/v1/openapi.json lists them")
        return BadRequest(scrub(str(error.detail), limit=200))
    return AtollError("the control plane failed at this request", hint="its log says why; please report it")


def answer(error: AtollError) -> Response:
    """The response for an error."""
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="atoll"'
    if isinstance(error, Overloaded | StorageFull | TelemetryUnavailable):
        headers["Retry-After"] = str(max(1, round(float(error.fields.get("retry_after", 1)))))
    if isinstance(error, MethodNotAllowed) and error.fields.get("allow"):
        headers["Allow"] = str(error.fields["allow"])
    if isinstance(error, LeaseExpired):
        headers["X-Atoll-Register"] = "again"
    content = msgspec.json.encode(error.problem(), enc_hook=str)
    return Response(content, error.status, headers, media_type=MEDIA)


class Refusals:
    """Counts refusals by code, and says so in the log once per code and window."""

    def __init__(self, clock: Clock, counts: Counts) -> None:
        self._clock = clock
        self._counts = counts.refusals
        self._lately = counts.lately
        self._told: dict[str, tuple[Instant, int]] = {}

    def note(self, error: AtollError, cause: Exception, method: str, path: str) -> None:
        """One request was refused."""
        self._counts[error.code] += 1
        self._lately.add(error.code, self._clock.now())
        if type(error) is AtollError:
            log.error("a request failed", method=method, path=path, error=repr(cause), trace=_trace(cause))
            return
        now = self._clock.now()
        last, count = self._told.get(error.code, (Instant(-WINDOW), 0))
        if now - last < WINDOW:
            return
        total = self._counts[error.code]
        self._told[error.code] = now, total
        log.warning("refused", code=error.code, count=total - count, method=method, path=path, detail=error.detail)


def _trace(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return " < ".join(f"{frame.filename.rsplit('/', 2)[-1]}:{frame.lineno}:{frame.name}" for frame in reversed(frames))
