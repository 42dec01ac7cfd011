"""The application that answers questions about telemetry, on the private unix socket: the control plane forwards to it.

Routes of other parts (logs, metrics, PromQL) are handed in and are answered in the same frame: a bound on what is in
progress and on the length of a question, errors as problem+json, nothing but reading. Who may ask was decided before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.requests import Request
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atoll.errors import AtollError, NotFound, Overloaded, TooLarge
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.settings import Telemetry
from atoll.telemetry.engine import Limits
from atoll.telemetry.query import problem

IN_PROGRESS = 128
"""Questions in progress at most, followers of logs included; more are refused with 503."""
QUESTION_BYTES = 16 << 10
"""Bytes of a query string."""
KEY = "atoll.queries"
log = Log("telemetry")


class Rows(Protocol):
    """Who runs statements: `telemetry.pool.EnginePool`, or a fake."""

    async def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None
    ) -> list[dict[str, Any]]:
        """The answer as dicts; raises as `Engine.rows`."""
        ...


@dataclass
class Queries:
    """What every handler works with, and what is counted."""

    pool: Any
    """An `EnginePool`; handlers that only need rows name it `Rows`."""
    clock: Clock
    knobs: Telemetry
    requests: int = 0
    in_progress: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    def limits(self, *, rows: int) -> Limits:
        """What one statement may take: the settings' time and memory, and `rows` of an answer."""
        return Limits(seconds=self.knobs.query_time, memory=self.knobs.query_memory, rows=rows)


def queries_of(request: Request) -> Queries:
    """The parts, in a handler."""
    found = request.scope[KEY]
    assert isinstance(found, Queries)
    return found


class QueryApp:
    """The frame around the routes. Made by `make_app`."""

    def __init__(self, queries: Queries, inside: ASGIApp) -> None:
        self.queries = queries
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One question."""
        if scope["type"] != "http":
            return
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        queries = self.queries
        queries.requests += 1
        queries.in_progress += 1
        try:
            if queries.in_progress > IN_PROGRESS:
                raise Overloaded(f"{IN_PROGRESS} questions are in progress", hint="try again shortly", retry_after=1)
            if len(scope["query_string"]) > QUESTION_BYTES:
                raise TooLarge(f"the query string is over {QUESTION_BYTES} bytes", hint="ask for less at a time")
            await self._inside({**scope, KEY: queries}, receive, sending)
        except Exception as cause:
            error = problem.as_error(cause)
            queries.refusals[error.code] += 1
            if type(error) is AtollError:
                log.error("a question failed", path=scope["path"], error=repr(cause))
            if began:
                raise
            await problem.answer(error)(scope, receive, send)
        finally:
            queries.in_progress -= 1

    def refused(self, error: AtollError) -> None:
        """Take note of what was refused before it was a question."""
        self.queries.refusals[error.code] += 1


def make_app(pool: Any, clock: Clock, knobs: Telemetry, *, routes: Sequence[BaseRoute] = ()) -> QueryApp:
    """The application over `pool`, with our own routes and those of the other parts."""
    from atoll.telemetry.query import api

    router = Router(routes=[*api.ROUTES, *routes], redirect_slashes=False, default=_nowhere)
    return QueryApp(Queries(pool, clock, knobs), router)


async def _nowhere(_: Scope, __: Receive, ___: Send) -> None:
    raise NotFound("there is no such path", hint="GET /api/v1/openapi.json lists them")
