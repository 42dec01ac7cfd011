"""An application on sockets that are bound already: uvicorn's connections with our limits, ended in good order.

The control plane's API and the telemetry process answer so.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol as Shape

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from atoll.errors import AtollError
from atoll.kit.accepting import stop_accepting
from atoll.server.protocol import Protocol

GRACE = 3.0
"""Seconds that requests in progress may take once the process is asked to end."""
KEEP_ALIVE = 75
"""Seconds an idle connection is kept; longer than a renewal interval, so that renewing reuses its connection."""


class App(Shape):
    """An ASGI application that is told of what never became a request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

    def refused(self, error: AtollError) -> None:
        """Something on a connection was no HTTP, or over the limits of its headers."""


@asynccontextmanager
async def listening(app: App, sockets: list[socket.socket], stop: Callable[[], None]) -> AsyncIterator[None]:
    """Answer on `sockets` for the length of the block; then `stop` is called, and what is in progress is ended."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        proxy_headers=False,
    )
    logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())  # it repeats what we count and log ourselves
    config.load()
    state = ServerState()
    state.default_headers = [(b"server", b"atoll")]
    loop = asyncio.get_running_loop()
    make = functools.partial(Protocol, refused=app.refused, config=config, server_state=state, app_state={})
    servers = [
        await (
            loop.create_unix_server(make, sock=one)
            if one.family == socket.AF_UNIX
            else loop.create_server(make, sock=one)
        )
        for one in sockets
    ]
    try:
        yield
    finally:
        for server in servers:
            await stop_accepting(server)
        stop()
        for connection in list(state.connections):
            connection.shutdown()
        await _finished(state)


async def _finished(state: ServerState) -> None:
    """Wait for requests in progress; after `GRACE` seconds cut them."""
    if state.tasks:
        await asyncio.wait(list(state.tasks), timeout=GRACE)
    for task in list(state.tasks):
        task.cancel()
    for connection in list(state.connections):
        connection.transport.abort()
    if state.tasks:
        await asyncio.wait(list(state.tasks), timeout=GRACE)
