"""The request that this thread or task is answering, from before the framework sees it until its last byte has left.

The server's own span is started here, so that there is one for every request of every framework, and none twice: the first
SERVER span that a framework's instrumentation starts for the request is this one (see `tracing`). What is printed
before and after the framework's own part of the request belongs to it as well.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import baggage, context, propagate
from opentelemetry.trace import Span, SpanKind, StatusCode

from .note import note

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
serving: ContextVar["Serving | None"] = ContextVar("atoll_serving", default=None)


class Serving:
    """One request.

    `adopted`: a framework's instrumentation goes on with the span, and ends it. No span: it is no news, nothing in it is
    traced.
    """

    __slots__ = ("_carried", "_token", "adopted", "span", "status")

    def __init__(self, span: Span | None, above: context.Context | None = None) -> None:
        self.span = span
        self.adopted = False
        self.status = 0
        self._token: Token[Serving | None] | None = serving.set(self)
        self._carried = _carry(above)

    def end(self, error: BaseException | None = None) -> None:
        """The last byte has left, or nothing will."""
        try:
            if self._token is not None:
                token, self._token = self._token, None
                serving.reset(token)
                if self._carried is not None:
                    context.detach(self._carried)
            span = self.span
            if span is not None and not self.adopted and span.is_recording():
                if self.status:
                    span.set_attribute("http.response.status_code", self.status)
                if self.status >= 500 or (error is not None and not self.status):
                    span.set_status(StatusCode.ERROR)
                if error is not None:
                    span.record_exception(error)
                span.end()
        except Exception as failure:
            note("a request is not traced", failure)


def _carry(above: context.Context | None) -> Any:
    """The baggage that came goes on with every call of the request (deadlines travel in it); its parent does not."""
    came = baggage.get_all(above) if above else None
    if not came:
        return None
    carried = context.get_current()
    for name, value in came.items():
        carried = baggage.set_baggage(name, value, carried)
    return context.attach(carried)


class Door:
    """Begins requests. `quiet`: the path that the platform itself asks every second, which is no news."""

    def __init__(self, start_span: Callable[..., Span], quiet: str) -> None:
        self._start_span = start_span
        self._quiet = quiet

    def begin(self, method: str, path: str, query: str, scheme: str, headers: Mapping[str, str]) -> Serving:
        """A request came in; `headers` have lower-case names. Call `end` on the same thread or task."""
        try:
            if path == self._quiet and "traceparent" not in headers:
                return Serving(None)
            attributes = {"url.path": path, "url.scheme": scheme}
            if query:
                attributes["url.query"] = query
            known = method if method in METHODS else "_OTHER" if method else ""
            if known:
                attributes["http.request.method"] = known
            if agent := headers.get("user-agent"):
                attributes["user_agent.original"] = agent
            above = propagate.extract(headers) if "traceparent" in headers else context.Context()
            name = {"_OTHER": "HTTP", "": "WS"}.get(known, known)
            return Serving(self._start_span(name, context=above, kind=SpanKind.SERVER, attributes=attributes), above)
        except Exception as failure:
            note("a request is not traced", failure)
            return Serving(None)


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Outermost:
    """An ASGI application with a door before it."""

    def __init__(self, app: App, door: Door) -> None:
        self.app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or connection; the lifespan passes."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in scope["headers"]}
        query = scope.get("query_string", b"").decode("latin-1")
        one = self._door.begin(scope.get("method", ""), scope["path"], query, scope.get("scheme", "http"), headers)

        async def noted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                one.status = message["status"]
            elif message["type"] == "websocket.accept":
                one.status = 101
            await send(message)

        error: BaseException | None = None
        try:
            await self.app(scope, receive, noted)
        except BaseException as failure:
            error = failure
            raise
        finally:
            if one.span is not None and not one.adopted and (route := _route(scope)):
                one.span.set_attribute("http.route", route)
                one.span.update_name(f"{scope.get('method', 'WS')} {route}")
            one.end(error)


def _route(scope: Scope) -> str:
    """What Starlette's routing left in the scope: its route's pattern, or the path with its parameters named."""
    if path := getattr(scope.get("route"), "path", None):
        return str(path)
    parameters = scope.get("path_params")
    if not isinstance(parameters, dict) or "endpoint" not in scope:
        return ""
    names = {str(text): name for name, text in parameters.items()}
    return "/".join(f"{{{names[part]}}}" if part in names else part for part in str(scope["path"]).split("/"))
