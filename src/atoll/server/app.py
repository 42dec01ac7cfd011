"""The control API as one ASGI application: the door (limits, Host, Origin, token), then the endpoint table.

Every request goes through `Door` first, known path or not, so that nothing answers without a token but the probes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atoll.errors import AtollError, MethodNotAllowed, NotFound, Overloaded, StorageFailed
from atoll.server import (
    auth,
    backup,
    breakers,
    drills,
    facts,
    faults,
    http_sd,
    instances,
    maintenance,
    metrics,
    nodes,
    openapi,
    problem,
    project,
    prometheus,
    routes,
    services,
    status,
    telemetry,
    watch,
)
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint, Handler
from atoll.server.exchange import REVISION_HEADER
from atoll.server.problem import Refusals

IN_PROGRESS = 512
"""Requests in progress at most, watches not counted; more are refused with 503."""
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
ALWAYS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_TABLE: tuple[Endpoint, ...] = (
    *instances.ENDPOINTS,
    *services.ENDPOINTS,
    *breakers.ENDPOINTS,
    *drills.ENDPOINTS,
    *maintenance.ENDPOINTS,
    *routes.ENDPOINTS,
    *faults.ENDPOINTS,
    *project.ENDPOINTS,
    *facts.ENDPOINTS,
    *watch.ENDPOINTS,
    *nodes.ENDPOINTS,
    *status.ENDPOINTS,
    *metrics.ENDPOINTS,
    *backup.ENDPOINTS,
    *telemetry.ENDPOINTS,
    *prometheus.ENDPOINTS,
    *http_sd.ENDPOINTS,
)
ENDPOINTS: tuple[Endpoint, ...] = (*_TABLE, openapi.describe(_TABLE))
"""Everything the control API answers."""


class Door:
    """Counts, limits, checks Host, Origin and token, adds what every answer carries, and turns errors into problems."""

    def __init__(self, inside: ASGIApp, control: Control) -> None:
        self._inside = inside
        self._control = control
        self._refusals = Refusals(control.clock, control.counts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        control = self._control
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                headers.setdefault(REVISION_HEADER, str(control.store.revision))
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
            await send(message)

        control.counts.requests += 1
        control.in_progress += 1
        try:
            self._check(scope)
            await self._inside(scope, receive, sending)
        except Exception as cause:
            error = problem.as_error(cause)
            self._refusals.note(error, cause, scope["method"], scope["path"])
            if isinstance(error, StorageFailed):
                control.fail(error)
            if began:
                raise
            response = problem.answer(error)
            if _endless(Headers(scope=scope), control.settings.api.body_limit):
                response.headers["Connection"] = "close"
            await response(scope, receive, sending)
        finally:
            control.in_progress -= 1

    def refused(self, error: AtollError) -> None:
        """Take note of what was refused before it was a request."""
        self._refusals.note(error, error, "", "")

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        auth.check_host(headers, self._control.settings.api.host)
        if scope["path"] in auth.OPEN:
            return
        auth.check_token(headers, self._control.token)
        if self._control.in_progress - self._control.counts.watchers > IN_PROGRESS:
            raise Overloaded(f"{IN_PROGRESS} requests are in progress", hint="try again shortly", retry_after=1)


def _endless(headers: Headers, limit: int) -> bool:
    """Whether the body of a refused request may have no end, so that only hanging up ends it."""
    length = headers.get("content-length", "0")
    return "transfer-encoding" in headers or not length.isdigit() or int(length[:20]) > limit


def make_app(control: Control) -> Door:
    """The application for one control plane."""
    return Door(Router(routes=_routes(control), redirect_slashes=False, default=_nowhere), control)


def _routes(control: Control) -> list[Route]:
    by_path: dict[str, dict[str, Handler]] = {}
    for endpoint in ENDPOINTS:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint.handler
    return [Route(path, _dispatch(control, handlers), methods=METHODS) for path, handlers in by_path.items()]


def _dispatch(control: Control, handlers: dict[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        handler = handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allow = ", ".join(sorted(handlers))
            raise MethodNotAllowed(
                f"{request.url.path} does not take {request.method}", hint=f"it takes {allow}", allow=allow
            )
        return await handler(control, request)

    return handle


async def _nowhere(_: Scope, __: Receive, ___: Send) -> None:
    raise NotFound("there is no such path", hint="GET /api/v1/openapi.json lists them")
