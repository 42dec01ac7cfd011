"""Reading a request's parameters and writing an answer: the same way in every handler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import InvalidValue
from atoll.kit.text import scrub
from atoll.model import names
from atoll.model.names import InstanceId, ServiceName
from atoll.server import body
from atoll.server.control import Control
from atoll.store.base import Revision

T = TypeVar("T")
REVISION_HEADER = "X-Atoll-Revision"


def reply(answer: msgspec.Struct, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer as JSON; tells in its headers the revision it was true at, when it knows."""
    told = {REVISION_HEADER: str(found)} if (found := getattr(answer, "revision", None)) is not None else {}
    return Response(msgspec.json.encode(answer), status, {**told, **(headers or {})}, media_type="application/json")


async def take(control: Control, request: Request, kind: type[T], *, limit: int | None = None) -> T:
    """The request's body as `kind`, at most `limit` bytes (default: the setting); see `body` for how it refuses."""
    return body.parse(await body.read(request, limit=limit or control.settings.api.body_limit), kind)


async def take_or(control: Control, request: Request, kind: type[T], default: T) -> T:
    """As `take`; without a body, `default`."""
    content = await body.read(request, limit=control.settings.api.body_limit)
    return body.parse(content, kind) if content else default


def service_in(request: Request) -> ServiceName:
    """The service named in the path.

    Raises:
        InvalidName: it cannot be the name of a service.
    """
    return names.service_name(request.path_params["service"])


def instance_in(request: Request) -> InstanceId:
    """The instance named in the path.

    Raises:
        InvalidName: it cannot be the id of an instance.
    """
    return names.instance_id(request.path_params["instance"])


def if_match(request: Request) -> Revision | None:
    """The revision at which the fact must have changed last, for the request to be done; None: any.

    Raises:
        InvalidValue: `If-Match` is not one revision.
    """
    said = request.headers.get("if-match")
    if said is None:
        return None
    text = said.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidValue("If-Match is not a revision", hint="send the `modified` of the fact as you read it")
    return Revision(int(text))


def whole(request: Request, name: str, default: int | None, *, least: int, most: int) -> int | None:
    """A whole number of the query string.

    Raises:
        InvalidValue: it is none, or outside the bounds.
    """
    said = request.query_params.get(name)
    if said is None:
        return default
    digits = said.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 18 and least <= int(said) <= most:
        return int(said)
    raise InvalidValue(f"{name} {scrub(said, limit=40)!r} is not {least} to {most}", hint="give a number", field=name)


def seconds(request: Request, name: str, default: float, *, most: float) -> float:
    """A duration of the query string, in seconds from 0 to `most`; more is cut to `most`, and so is `default`.

    Raises:
        InvalidValue: it is no number, or negative.
    """
    said = request.query_params.get(name)
    if said is None:
        return min(default, most)
    value = _number(said)
    if value is None or value < 0:
        raise InvalidValue(
            f"{name} {scrub(said, limit=40)!r} is not a number of seconds", hint="give seconds", field=name
        )
    return min(value, most)


def flag(request: Request, name: str) -> bool:
    """A yes or no of the query string; absent means no.

    Raises:
        InvalidValue: it is neither.
    """
    said = request.query_params.get(name, "false").lower()
    if said in {"true", "1", "yes"}:
        return True
    if said in {"false", "0", "no"}:
        return False
    raise InvalidValue(f"{name} {scrub(said, limit=40)!r} is not true or false", hint="say true or false", field=name)


def moment(request: Request, name: str, default: float | None) -> float | None:
    """A point in time of the query string, in wall seconds: a number, or ISO 8601 (UTC when it does not say).

    Raises:
        InvalidValue: it is neither.
    """
    said = request.query_params.get(name)
    if said is None:
        return default
    value = _number(said)
    if value is not None and value >= 0:
        return value
    try:
        found = datetime.fromisoformat(said[:40].replace(" ", "+"))  # a plus sign in a query string means a space
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidValue(
            f"{name} {scrub(said, limit=40)!r} is not a time",
            hint="give seconds since 1970, or 2026-11-21T14:02:11Z",
            field=name,
        ) from None


def _number(said: str) -> float | None:
    try:
        value = float(said) if len(said) <= 40 and said.isascii() and "_" not in said else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
