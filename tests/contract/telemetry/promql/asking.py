"""Our API over samples in memory, asked as the oracle is."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
from starlette.requests import Request
from starlette.routing import Router

from atoll.kit.clock import Clock
from atoll.telemetry.promql.api import PREFIX, make_routes
from atoll.telemetry.promql.source import Source


def client(source: Source, clock: Clock) -> httpx.AsyncClient:
    """A client of the API; no socket is opened."""

    def ask(_: Request) -> tuple[Source, Clock]:
        return source, clock

    router = Router(routes=list(make_routes(ask)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=router), base_url="http://atoll")


async def answered(asked: httpx.AsyncClient, path: str, form: dict[str, str]) -> dict[str, Any]:
    """The JSON of an answer to a posted form; `path` is Prometheus'."""
    answer = await asked.post(PREFIX.removesuffix("/api/v1") + path, data=form)
    read: dict[str, Any] = answer.json()
    return read
