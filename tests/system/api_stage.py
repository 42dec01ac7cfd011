"""A real control plane on real sockets, in the test's own loop: TCP port chosen by the system, unix socket, SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from atoll.sdk.client import Client
from atoll.server.serve import Serving, serving
from atoll.settings import Settings, load


@dataclass
class Plane:
    serving: Serving
    http: httpx2.AsyncClient
    """Over TCP, with the token."""
    sdk: Client
    """Over the unix socket."""

    @property
    def token(self) -> str:
        return self.serving.control.token

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        if body is not None:
            options["json"] = body
        return await self.http.request(method, path, **options)

    async def register(self, service: str, instance: str, port: int, **said: Any) -> dict[str, Any]:
        path = f"/api/v1/services/{service}/instances/{instance}"
        answer = await self.ask("PUT", path, {"port": port, **said})
        assert answer.status_code in {200, 201}, answer.text
        found: dict[str, Any] = answer.json()
        return found


def settings_in(folder: Path, **environ: str) -> Settings:
    return load(folder / ".atoll", {"ATOLL_API_PORT": "0", **environ})


@asynccontextmanager
async def plane_at(settings: Settings) -> AsyncIterator[Plane]:
    async with serving(settings) as served:
        token = served.control.token
        async with (
            httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{served.port}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=10,
                trust_env=False,
            ) as http,
            Client(token=token, socket=served.socket) as sdk,
        ):
            yield Plane(served, http, sdk)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that another task or process brings about; the test's timeout is the limit."""
    while not condition():  # noqa: ASYNC110 -- there is no event to wait for: it is seen from outside
        await asyncio.sleep(0.01)
