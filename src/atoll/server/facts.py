"""Facts as they are: listed at one revision, page by page. What a node or dashboard begins with before it watches."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import Compacted, InvalidName, InvalidValue
from atoll.model import names
from atoll.model.answers import Fact, FactPage
from atoll.model.names import Key
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint, Query
from atoll.server.exchange import reply, whole
from atoll.store.base import Entry, Revision

PAGE_LIMIT = 10_000
"""Facts of one answer."""
PREFIX_LIMIT = 16
NULL = msgspec.Raw(b"null")


def prefixes_of(request: Request) -> tuple[str, ...]:
    """The prefixes that are asked for, sorted and none inside another; all facts when none is named.

    Raises:
        InvalidName: one is not the beginning of keys, up to a '/'.
        InvalidValue: more than `PREFIX_LIMIT`.
    """
    said = request.query_params.getlist("prefix")
    if len(said) > PREFIX_LIMIT:
        raise InvalidValue(f"{len(said)} prefixes are more than {PREFIX_LIMIT}", hint="ask twice", field="prefix")
    found: list[str] = []
    for prefix in sorted({_prefix(one) for one in said} or {""}):
        if not any(prefix.startswith(wider) for wider in found):
            found.append(prefix)
    return tuple(found)


def _prefix(said: str) -> str:
    if said:
        names.key(said.removesuffix("/"), field="prefix")
        if not said.endswith("/"):
            raise InvalidName(f"prefix {said!r} does not end with '/'", hint=f"{said}/", field="prefix")
    return said


def raw_value(value: bytes) -> msgspec.Raw:
    """A stored value for embedding in one line of JSON; null when it is not JSON (poison must not spoil the rest)."""
    try:
        found = msgspec.json.decode(value)
        return msgspec.Raw(msgspec.json.encode(found) if b"\n" in value or b"\r" in value else value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return NULL


async def list_facts(control: Control, request: Request) -> Response:
    """One page."""
    prefixes = prefixes_of(request)
    limit = whole(request, "limit", PAGE_LIMIT, least=1, most=PAGE_LIMIT) or PAGE_LIMIT
    asked = whole(request, "revision", None, least=0, most=2**53)
    revision = None if asked is None else Revision(asked)
    said = request.query_params.get("after")
    after = None if said is None else names.key(said, field="after")
    entries: list[Entry] = []
    more = False
    for prefix in prefixes:
        if after is not None and not after.startswith(prefix) and prefix < after:
            continue  # that prefix was told whole
        if more or len(entries) == limit:
            more = more or bool((await control.store.list(prefix, revision=revision, limit=1)).entries)
            break
        inside: Key | None = after if after is not None and after.startswith(prefix) else None
        page = await control.store.list(prefix, revision=revision, after=inside, limit=limit - len(entries))
        revision, more = page.revision, page.more
        entries.extend(page.entries)
    facts = tuple(Fact(entry.key, raw_value(entry.value), entry.modified) for entry in entries)
    return reply(FactPage(revision if revision is not None else control.store.revision, facts, more))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/facts",
        summary="Facts at one revision. Page on with `after` (the last key) and the same `revision`.",
        handler=list_facts,
        answer=FactPage,
        errors=(InvalidName, InvalidValue, Compacted),
        query=(
            Query("prefix", "Which: `services/`, `instances/orders/`, …; repeatable. None: all.", repeated=True),
            Query("limit", f"Facts of one page, 1 to {PAGE_LIMIT}.", "integer"),
            Query("after", "Only those after this key."),
            Query("revision", "As of this revision.", "integer"),
        ),
    ),
)
