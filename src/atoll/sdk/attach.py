"""An ASGI app with a life: joined while it runs, `/livez` and `/readyz`, a drain before it ends.

`attach(app)` hooks itself into an app that takes middleware (Starlette, FastAPI), so `app` is served as before; for any
other ASGI app (Django, Quart, a plain function) serve what `attach` returns. Requests pass unchanged. Knows no framework.

SIGTERM reaches the server only after the farewell (see `termination`): until then it keeps its listener open. Servers that
hear signals through `loop.add_signal_handler` cannot be held back; there the farewell runs beside their shutdown.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Unpack

import msgspec

from atoll.kit.clock import Clock, SystemClock
from atoll.kit.tasks import Tasks
from atoll.sdk.health import PASSED, A, Checks
from atoll.sdk.lifecycle import DRAIN, Lifecycle, answers, living
from atoll.sdk.place import Said, identity_of, place_of
from atoll.sdk.termination import held_back

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Living = AbstractAsyncContextManager[tuple[Lifecycle, Tasks]]


class Node:
    """An app and its life; itself an ASGI app. Made by `attach`."""

    def __init__(
        self, app: App, start: Callable[[], Living], clock: Clock, livez: str | None, readyz: str | None
    ) -> None:
        self.life: Lifecycle | None = None
        """None: the app does not run (or its server knows no lifespan)."""
        self.under_way = 0
        """Requests and websockets that are being served."""
        self._app = app
        self._start = start
        self._paths = {livez: self._livez, readyz: self._readyz}
        self._checks = Checks(clock)

    def ready(self, name: str) -> Callable[[A], A]:
        """`@node.ready("database")`: the app is ready only while this function returns true; see `health`."""

        def add(ask: A) -> A:
            self._checks.add(name, ask)
            return ask

        return add

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app."""
        await self.serve(self._app, scope, receive, send)

    async def serve(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """`app`, with the life around it."""
        if scope["type"] == "lifespan":
            await self._live(app, scope, receive, send)
            return
        answer = self._paths.get(scope["path"]) if scope["type"] == "http" else None
        if answer is not None and scope["method"] in {"GET", "HEAD"}:
            await _say(send, *await answer(), head=scope["method"] == "HEAD")
            return
        self.under_way += 1
        try:
            await app(scope, receive, send)
        finally:
            self.under_way -= 1

    # The life -----------------------------------------------------------------------------------------------------

    async def _live(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        failure: Exception | None = None
        async with self._start() as (life, tasks):

            async def end() -> None:
                await life.farewell(self._idle)
                termination.pass_on()

            with held_back(lambda: tasks.start("farewell", end())) as termination:
                if life.member is None:
                    termination.remove()  # who started us takes us out of rotation before the signal
                try:
                    await _Lifespan(app, partial(self._began, life, tasks), partial(life.farewell, self._idle)).run(
                        scope, receive, send
                    )
                except Exception as error:  # noqa: BLE001 - raised below as it is, outside of the task group
                    failure = error
            self.life = None
        if failure is not None:
            raise failure

    def _began(self, life: Lifecycle, tasks: Tasks) -> None:
        self.life = life
        tasks.start("membership", life.join(partial(self._may_join, life)))

    async def _may_join(self, life: Lifecycle) -> bool:
        assert life.member is not None
        passed = all(outcome == PASSED for outcome in (await self._checks.outcomes()).values())
        return passed and await answers(*life.member.endpoint)

    def _idle(self) -> bool:
        return self.under_way == 0

    # What it says of itself -----------------------------------------------------------------------------------------

    async def _livez(self) -> tuple[int, dict[str, object]]:
        return 200, {"status": "alive"}

    async def _readyz(self) -> tuple[int, dict[str, object]]:
        checks = await self._checks.outcomes()
        life = self.life
        status = "ready" if all(outcome == PASSED for outcome in checks.values()) else "not-ready"
        registration = "none"
        if life is not None:
            if life.member is not None:
                trouble = life.member.trouble
                registration = trouble.code if trouble is not None else "ok" if life.member.registered else "waiting"
            if life.lost is not None:
                status, registration = "not-ready", life.lost.code
            if life.leaving:
                status = "draining"
        dog = life.watchdog if life is not None else None
        said = {
            "status": status,
            "checks": checks,
            "registration": registration,
            "under_way": self.under_way,
            "loop": {"lag": dog.lag, "lag_most": dog.lag_most, "blocked": dog.blocked} if dog is not None else {},
        }
        return 200 if status == "ready" else 503, said


class _Lifespan:
    """The server's lifespan, passed through to an app that may know nothing of it."""

    def __init__(self, app: App, began: Callable[[], None], farewell: Callable[[], Awaitable[None]]) -> None:
        self._app = app
        self._began = began
        self._farewell = farewell
        self._heard = self._started = False

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def hear() -> Message:
            message = await receive()
            self._heard = True
            if message["type"] == "lifespan.shutdown":
                await self._farewell()
            return message

        async def say(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._started = True
                self._began()
            await send(message)

        try:
            await self._app(scope, hear, say)
        except Exception:
            if self._heard:
                raise  # it knows of lifespans, and failed
        if self._heard:
            return
        await receive()
        self._began()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._farewell()
        await send({"type": "lifespan.shutdown.complete"})


class _Middleware:
    """A node as a middleware of an app that takes those."""

    def __init__(self, app: App, node: Node) -> None:
        self._app = app
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._node.serve(self._app, scope, receive, send)


def attach(
    app: Any,
    service: str | None = None,
    *,
    take_over: bool = False,
    drain: float = DRAIN,
    livez: str | None = "/livez",
    readyz: str | None = "/readyz",
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    **said: Unpack[Said],
) -> Node:
    """Join `app` to the platform while it runs; `said` is in `place.Said`.

    Without a service (argument or ATOLL_SERVICE), or started by an atoll node, it registers nothing and only answers
    `livez` and `readyz` (None: not even that).

    Raises:
        InvalidName, InvalidValue, AddressForbidden: what was said can never be registered.
    """
    environ = dict(os.environ if environ is None else environ)
    clock = clock or SystemClock()
    identity = identity_of(environ, service, **said)
    place_of(environ)  # a wrong URL is told here, in the line that somebody wrote
    start = partial(living, identity, environ, take_over=take_over, drain=drain, clock=clock)
    node = Node(app, start, clock, livez, readyz)
    if callable(getattr(app, "add_middleware", None)):
        app.add_middleware(_Middleware, node=node)
    return node


async def _say(send: Send, status: int, said: dict[str, object], *, head: bool) -> None:
    body = msgspec.json.encode(said)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
