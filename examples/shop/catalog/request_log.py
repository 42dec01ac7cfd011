"""One line a request on stdout, and who answered in the headers. Plain ASGI, so streams stay streams."""

from __future__ import annotations

import os
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

INSTANCE = os.environ.get("ATOLL_INSTANCE", "")
VERSION = os.environ.get("SERVICE_VERSION", "v1")
STAMP = [(b"x-version", VERSION.encode())] + ([(b"x-instance", INSTANCE.encode())] if INSTANCE else [])


class RequestLog:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] in {"http.response.start", "websocket.accept"}:
                status = message.get("status", 101)
                message["headers"] = [*message.get("headers", ()), *STAMP]
            await send(message)

        try:
            await self.app(scope, receive, stamped)
        finally:
            if scope["path"] != "/healthz" or status != 200:  # a passing check every second is no news
                self.write(scope, status or 499, (time.perf_counter() - started) * 1000)

    @staticmethod
    def write(scope: Scope, status: int, ms: float) -> None:
        """Print the line: method, target as it was sent, status (499: the client left), time, request id."""
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        request_id = dict(scope["headers"]).get(b"x-request-id", b"-").decode("latin-1")
        print(f"{scope.get('method', 'WS')} {target} {status} {ms:.1f}ms id={request_id}", flush=True)
