"""Where requests come in: uvicorn, gunicorn's workers, Python's own http.server. Each is given a door (`serving`)."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .lines import flush
from .note import note
from .serving import Door, Outermost, Serving, serving

Doors = Callable[[], Door | None]


def uvicorn(module: ModuleType, door: Doors) -> None:
    """Every ASGI application that uvicorn loads, in whichever process it does (reload, workers, gunicorn's worker)."""
    config = module.Config
    original = config.load

    @functools.wraps(original)
    def load(self: Any) -> None:
        original(self)
        if (found := door()) is not None and not isinstance(self.loaded_app, Outermost):
            self.loaded_app = Outermost(self.loaded_app, found)

    config.load = load


def uvicorn_server(module: ModuleType, _: Doors) -> None:
    """A uvicorn that has shut down ends by the signal it was told to: without a word at exit."""
    server = module.Server
    original = server.shutdown

    @functools.wraps(original)
    async def shutdown(self: Any, *arguments: Any, **named: Any) -> None:
        await original(self, *arguments, **named)
        flush()

    server.shutdown = shutdown


def gunicorn_asgi(module: ModuleType, door: Doors) -> None:
    """The ASGI worker of gunicorn itself."""
    worker = module.ASGIWorker
    original = worker.load_wsgi

    @functools.wraps(original)
    def load_wsgi(self: Any) -> None:
        original(self)
        if (found := door()) is not None:
            self.asgi = Outermost(self.asgi, found)

    worker.load_wsgi = load_wsgi


def gunicorn_worker(module: ModuleType, door: Doors) -> None:
    """The workers of gunicorn for WSGI: sync, threads, greenlets."""
    for name in ("SyncWorker", "ThreadWorker", "AsyncWorker"):
        worker = vars(module).get(name)
        if worker is not None and "handle_request" in vars(worker):
            worker.handle_request = _handled(worker.handle_request, door)


def _handled(original: Callable[..., Any], door: Doors) -> Callable[..., Any]:
    @functools.wraps(original)
    def handle_request(self: Any, *arguments: Any) -> Any:
        one = _begun(arguments, door)
        if one is None:
            return original(self, *arguments)
        error: BaseException | None = None
        try:
            return original(self, *arguments)
        except BaseException as failure:
            if not isinstance(failure, StopIteration):
                error = failure
            raise
        finally:
            one.end(error)

    return handle_request


def _begun(arguments: tuple[Any, ...], door: Doors) -> Serving | None:
    found = door()
    request = next((one for one in arguments if hasattr(one, "headers") and hasattr(one, "method")), None)
    if found is None or request is None:
        return None
    headers = {name.lower(): text for name, text in request.headers}
    scheme = getattr(request, "scheme", "http") or "http"
    return found.begin(request.method or "", request.path or "", request.query or "", scheme, headers)


def gunicorn_response(module: ModuleType, _: Doors) -> None:
    """The status, for applications of no framework that tells it."""
    original = module.Response.start_response

    @functools.wraps(original)
    def start_response(self: Any, status: str, *more: Any) -> Any:
        one = serving.get()
        if one is not None and status[:3].isdecimal():
            one.status = int(status[:3])
        return original(self, status, *more)

    module.Response.start_response = start_response


def http_server(module: ModuleType, door: Doors) -> None:
    """Python's own server, and what is made of it (Flask's development server). wsgiref has its own way and is left."""
    handler = module.BaseHTTPRequestHandler
    parse, handle, answer = handler.parse_request, handler.handle_one_request, handler.send_response_only

    @functools.wraps(handle)
    def handle_one_request(self: Any) -> None:
        self._atoll = None
        error: BaseException | None = None
        try:
            handle(self)
        except BaseException as failure:
            error = failure
            raise
        finally:
            if self._atoll is not None:
                self._atoll.end(error)

    @functools.wraps(parse)
    def parse_request(self: Any) -> bool:
        good = bool(parse(self))
        if good and vars(self).get("_atoll", self) is None and (found := door()) is not None:
            try:
                headers = {name.lower(): text for name, text in self.headers.items()}
                path, _, query = self.path.partition("?")
                self._atoll = found.begin(self.command, path, query, "http", headers)
            except Exception as failure:
                note("a request is not traced", failure)
        return good

    @functools.wraps(answer)
    def send_response_only(self: Any, code: int, message: str | None = None) -> None:
        one = vars(self).get("_atoll")
        if one is not None and code >= 200:
            one.status = int(code)
        answer(self, code, message)

    handler.handle_one_request = handle_one_request
    handler.parse_request = parse_request
    handler.send_response_only = send_response_only
