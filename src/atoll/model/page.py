"""A fixed answer: what the gateway gives by itself in place of a service's, word for word.

It stands in a map of HAProxy's, so it is small text: a larger or binary one is a service's to give.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

import msgspec

from atoll.errors import InvalidName
from atoll.kit.text import scrub
from atoll.model import names
from atoll.model.names import HeaderName

BODY_LIMIT = 8192
"""Bytes of a body."""
HEADERS_LIMIT = 16
HEADER_BYTES = 1024
"""Of one header's value."""
TYPE_LIMIT = 128
"""Characters of a content type."""
STATUSES = frozenset(status.value for status in HTTPStatus if status >= HTTPStatus.OK)
BODILESS = frozenset({204, 205, 304})
"""Statuses that have no body."""
TEXT = "text/plain; charset=utf-8"
TAKEN = frozenset(
    {"age", "content-length", "content-type", "transfer-encoding", "te", "trailer", "x-fallback", "x-trace-id"}
)
"""Headers that the gateway or HAProxy says itself."""
TAKEN_HEADS = ("connection", "keep-alive", "proxy-", "upgrade", "x-atoll-")

_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:; ?[A-Za-z0-9_.-]+=[A-Za-z0-9_.\"-]+)*")
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Page(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A status, a body and headers."""

    status: int = 200
    body: str = ""
    content_type: str = TEXT
    headers: dict[HeaderName, str] = {}


def page_problems(said: Page) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is absurd in `said`: the path of a field, and the reason."""
    if said.status not in STATUSES:
        yield ("status",), f"{said.status} is no status of an answer (200 to 511)"
    if said.status in BODILESS and said.body:
        yield ("body",), f"an answer with status {said.status} has no body"
    yield from _body(said.body)
    if len(said.content_type) > TYPE_LIMIT or not _TYPE.fullmatch(said.content_type):
        yield ("content_type",), f"{scrub(said.content_type, limit=80)!r} is no content type such as application/json"
    if len(said.headers) > HEADERS_LIMIT:
        yield ("headers",), f"{len(said.headers)} headers are more than {HEADERS_LIMIT}"
    for name, value in said.headers.items():
        yield from _header(name, value)


def _body(body: str) -> Iterator[tuple[tuple[str, ...], str]]:
    try:
        size = len(body.encode())
    except UnicodeEncodeError:
        yield ("body",), "it is not valid Unicode"
        return
    if size > BODY_LIMIT:
        yield ("body",), f"{size} bytes are more than {BODY_LIMIT}; a larger answer is for a service to give"
    if "\0" in body:
        yield ("body",), "it holds a NUL: only text can be a fixed answer"


def _header(name: str, value: str) -> Iterator[tuple[tuple[str, ...], str]]:
    shown = scrub(name, limit=80)
    try:
        plain = names.header_name(name) == name
    except InvalidName as wrong:
        yield ("headers", name), wrong.detail
        return
    if not plain:
        yield ("headers", name), f"{shown!r} is not in lower case"
    if name in TAKEN or name.startswith(TAKEN_HEADS):
        yield ("headers", name), f"`{shown}` is not for a fixed answer to say"
    if len(value) > HEADER_BYTES or not _VALUE.fullmatch(value):
        yield ("headers", name), f"its value is not 1 to {HEADER_BYTES} visible ASCII characters"
