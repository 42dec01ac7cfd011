"""Request bodies, read within bounds of bytes and time and refused when they are not exactly what they should be.

Order: size and time (413, 408), then form (400: not JSON, not UTF-8, a BOM, trailing data, NaN, 1e400, too deep, a key
twice), then meaning (422: wrong type, unknown field). A body of nonsense costs milliseconds.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from starlette.requests import ClientDisconnect, Request

from atoll.errors import BadRequest, InvalidValue, RequestTimeout, TooLarge
from atoll.kit.text import closest, scrub

T = TypeVar("T")
BODY_SECONDS = 10.0
"""Seconds in which a body must have come."""


DIGITS = 19
LINGER = 8 << 20
"""Bytes over the limit that are still read and thrown away."""
LINGER_SECONDS = 1.0


async def read(request: Request, *, limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it has more than `limit` bytes.
        RequestTimeout: it did not come within `seconds`.
        BadRequest: it is compressed, or the client hung up.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise BadRequest("compressed bodies are not taken", hint="send the JSON as it is")
    said = request.headers.get("content-length", "")
    too_large = said.isdigit() and int(said[:20]) > limit
    if too_large and "expect" in request.headers:
        raise TooLarge(
            f"the body is over {limit} bytes", hint="send less at a time", limit=limit
        )  # nothing was sent yet
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS if too_large else seconds):
            async for piece in request.stream():
                size += len(piece)
                too_large = too_large or size > limit
                if size > limit + LINGER:
                    break
                if too_large:
                    pieces.clear()  # what still comes is thrown away, so that the client gets to read why
                else:
                    pieces.append(piece)
    except TimeoutError:
        if not too_large:
            raise RequestTimeout(f"the body did not come within {seconds:g} s", hint="send it in one go") from None
    except ClientDisconnect:
        raise BadRequest("the client hung up in the middle of the body") from None
    if too_large:
        raise TooLarge(f"the body is over {limit} bytes", hint="send less at a time", limit=limit)
    return b"".join(pieces)


def parse(body: bytes, kind: type[T]) -> T:
    """The JSON in `body` as `kind`.

    Raises:
        BadRequest: it is not JSON as it must be.
        InvalidValue: it does not have the shape of `kind`; field `field` tells where.
    """
    try:
        parsed = msgspec.json.decode(body, type=kind)
        raw = json.loads(body, object_pairs_hook=_object, parse_int=_integer)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, ValueError) as error:
        raise BadRequest(
            f"the body is not JSON: {scrub(str(error), limit=200)}", hint="send one JSON document"
        ) from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply", hint="no request needs more than ten levels") from None
    _refuse_unknown(raw, kind, "")
    return parsed


def _integer(digits: str) -> int:
    """An integer of at most 64 bits: longer ones cost quadratic time, and nothing here needs them."""
    if len(digits) > DIGITS:
        raise BadRequest(f"a number has {len(digits)} digits", hint=f"at most {DIGITS} are taken")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadRequest(f"key {scrub(twice, limit=80)!r} stands twice in one object", hint="say everything once")
    return found


def _invalid(message: str) -> InvalidValue:
    what, _, where = message.partition(" - at `$")
    field = where.rstrip("`").lstrip(".") or None
    extra = {"field": scrub(field, limit=200)} if field else {}
    shown = scrub(what, limit=300)
    detail = f"{extra['field']}: {shown}" if extra else shown
    return InvalidValue(detail, hint="GET /api/v1/openapi.json describes the body", **extra)


def _refuse_unknown(raw: object, kind: Any, path: str) -> None:
    """Refuse fields that `kind` does not have: a typo must not be lost without a word.

    Raises:
        InvalidValue: there is one.
    """
    if isinstance(raw, dict):
        mapped = _values_of(kind)
        struct = None if mapped is not None else _struct_of(kind)
        if struct is not None:
            hints = _hints(struct)
            for name, value in raw.items():
                if name not in hints:
                    at, near = f"{path}.{name}" if path else name, closest(name, hints)
                    raise InvalidValue(
                        f"unknown field {scrub(at, limit=120)!r}",
                        hint=f"did you mean {near!r}?" if near else f"fields are: {', '.join(hints)}",
                        field=scrub(at, limit=120),
                    )
                if isinstance(value, dict | list):
                    _refuse_unknown(value, hints[name], f"{path}.{name}" if path else name)
        elif mapped is not None:
            for name, value in raw.items():
                if isinstance(value, dict | list):
                    _refuse_unknown(value, mapped, f"{path}.{name}")
    elif isinstance(raw, list):
        within = (get_args(kind) or (None,))[0]
        for index, value in enumerate(raw):
            if isinstance(value, dict | list):
                _refuse_unknown(value, within, f"{path}[{index}]")


@functools.cache
def _hints(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields and their types: asked for once, as a node's report holds thousands of structs every second."""
    return get_type_hints(struct)


@functools.cache
def _values_of(kind: Any) -> Any:
    """What the values of a mapping are; None: it is none."""
    mapping = isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Mapping | dict)
    return get_args(kind)[1] if mapping else None


@functools.cache
def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    return next((one for one in (kind, *get_args(kind)) if _is_struct(one)), None)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
