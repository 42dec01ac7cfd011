"""Answers in the envelope of Prometheus' API, and errors in its words; ours stand beside them for our own clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from atoll.errors import AtollError, BadRequest, Overloaded, TooLarge
from atoll.kit.text import scrub
from atoll.telemetry.promql.refusal import EvaluationError, ParseError, QueryTimeout

NO_STORE = {"Cache-Control": "no-store"}


def content(data: Any, warnings: Sequence[str] = ()) -> bytes:
    """The body of a good answer."""
    envelope: dict[str, Any] = {"status": "success", "data": data}
    if warnings:
        envelope["warnings"] = list(warnings)
    return msgspec.json.encode(envelope)


def good(body: bytes) -> Response:
    """A good answer."""
    return Response(body, headers=NO_STORE, media_type="application/json")


def refused(error: AtollError) -> Response:
    """An error: `status`, `errorType` and `error` for clients of Prometheus; `code`, `detail` and what else our problem
    documents have for ours.
    """
    status, kind = _kind(error)
    words = f'invalid parameter "query": {error.detail}' if isinstance(error, ParseError) else error.detail
    problem = error.problem()
    problem.update(code=_code(error), status="error", errorType=kind, error=scrub(words, limit=2000))
    headers = dict(NO_STORE)
    if status == Overloaded.status:
        headers["Retry-After"] = str(max(1, round(float(error.fields.get("retry_after", 1)))))
    return Response(msgspec.json.encode(problem, enc_hook=str), status, headers, media_type="application/json")


def _kind(error: AtollError) -> tuple[int, str]:
    if isinstance(error, QueryTimeout):
        return 503, "timeout"
    if isinstance(error, ParseError | BadRequest | TooLarge):
        return 400, "bad_data"
    if isinstance(error, EvaluationError):
        return 422, "execution"
    if isinstance(error, Overloaded):
        return 503, "unavailable"
    if type(error) is AtollError or error.status >= 500:
        return error.status, "internal"
    return 422, "execution"


def _code(error: AtollError) -> str:
    """The code that our clients know: the errors of this package are special cases of those in `errors`."""
    known = (kind for kind in type(error).__mro__ if issubclass(kind, AtollError))
    return next(kind.code for kind in known if kind.__module__ == AtollError.__module__)
