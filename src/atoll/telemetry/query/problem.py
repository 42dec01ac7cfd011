"""Errors of the query application as RFC 9457 problem+json; what we did not expect is told in the log, not to the client."""

from __future__ import annotations

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from atoll.errors import AtollError, BadRequest, MethodNotAllowed, NotFound, Overloaded, StorageFull
from atoll.kit.text import scrub

MEDIA = "application/problem+json"


def as_error(error: Exception) -> AtollError:
    """Any exception as one of ours."""
    if isinstance(error, AtollError):
        return error
    if isinstance(error, HTTPException):
        kinds: dict[int, type[AtollError]] = {kind.status: kind for kind in (NotFound, MethodNotAllowed)}
        return kinds.get(error.status_code, BadRequest)(scrub(str(error.detail), limit=200))
    return AtollError("telemetry failed at this request", hint="its log says why; please report it")


def answer(error: AtollError) -> Response:
    """The response for an error."""
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Overloaded | StorageFull):
        headers["Retry-After"] = str(max(1, round(float(error.fields.get("retry_after", 1)))))
    return Response(msgspec.json.encode(error.problem(), enc_hook=str), error.status, headers, media_type=MEDIA)
