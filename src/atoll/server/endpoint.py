"""The one declaration of an endpoint: Starlette's route and the OpenAPI document are both made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import AtollError
from atoll.server.control import Control

Handler = Callable[[Control, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Query:
    """One parameter of the query string; `kind` is a JSON Schema type."""

    name: str
    summary: str
    kind: str = "string"
    repeated: bool = False


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A method on a path: what it takes, what it answers, how it refuses."""

    method: str
    path: str
    summary: str
    handler: Handler
    body: type | None = None
    answer: type | None = None
    media: str = "application/json"
    """Of an answer that is not a struct."""
    status: int = 200
    also: tuple[int, ...] = ()
    """Other good statuses with the same answer."""
    errors: tuple[type[AtollError], ...] = ()
    query: tuple[Query, ...] = ()
    conditional: bool = False
    """Takes `If-Match`."""
    open: bool = False
    """Needs no token."""
