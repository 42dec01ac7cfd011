"""The beginning: what is to happen once the app imports this or that. Costs a process that never serves or calls nothing.

The SDK is loaded and its providers are made with the first library that is to be instrumented, or the first request: in a
server that forks its workers that is after the fork.
"""

import functools
import logging
import os
import sys
import threading
from types import ModuleType
from urllib.parse import unquote

from . import libraries, lines, unseen
from .imports import Action, when_imported
from .note import note

PATIENCE = 2.0
"""Seconds; making the providers takes a tenth of one."""
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .serving import Door


def begin(library: str) -> None:
    """Called by `sitecustomize`; `library` is the folder that holds the bundle's packages."""
    _prefer_ours(library)
    actions: dict[str, Action] = {"logging": lines.hear_logging}
    off = libraries.switched_off()
    for one in libraries.LIBRARIES:
        if one.word not in off and "*" not in off:
            actions[one.module] = functools.partial(_instrument, one)
    for module in ("multiprocessing.util", "billiard.util"):
        actions[module] = _flush_children
    if "django" not in off:
        actions["django.core.handlers.base"] = lambda module: libraries.django(module, sdk)
    for module in unseen.MODULES:
        actions[module] = functools.partial(unseen.used, module)
    doors = {
        "uvicorn.config": "uvicorn",
        "uvicorn.server": "uvicorn_server",
        "gunicorn.workers.sync": "gunicorn_worker",
        "gunicorn.workers.gthread": "gunicorn_worker",
        "gunicorn.workers.base_async": "gunicorn_worker",
        "gunicorn.workers.gasgi": "gunicorn_asgi",
        "gunicorn.http.wsgi": "gunicorn_response",
        "http.server": "http_server",
    }
    for module, name in doors.items():
        actions[module] = functools.partial(_door_for, name)
    when_imported(actions)
    lines.listen()


def _prefer_ours(library: str) -> None:
    """An app that has OpenTelemetry's API but not its SDK (FastAPI brings the API) gets the pair that fits together."""
    found = [place for entry in sys.path if os.path.isdir(place := os.path.join(entry or os.curdir, "opentelemetry"))]
    own = os.path.join(library, "opentelemetry")
    if not any(os.path.isdir(os.path.join(place, "sdk")) for place in found if place != own):
        import opentelemetry

        opentelemetry.__path__ = [own, *(place for place in found if place != own)]


def _flush_children(util: ModuleType) -> None:
    """Children of multiprocessing, and of Celery's twin of it, leave without a word at exit: `os._exit`."""
    util.register_after_fork(_sdk, lambda _: util.Finalize(None, lines.flush, exitpriority=0))


def _instrument(library: libraries.Library, _: ModuleType) -> None:
    if library.wanted() and sdk():
        libraries.instrument(library)
    elif library.module == "fastapi":
        sdk()  # it makes its spans itself, once there is somebody to take them


def _door_for(name: str, module: ModuleType) -> None:
    """The module that knows servers needs OpenTelemetry's API; it is imported with the first server."""
    from . import servers

    getattr(servers, name)(module, door)


class _Sdk:
    """The providers, made once; `door` is None before, and when they cannot be made."""

    def __init__(self) -> None:
        self.door: Door | None = None
        self._tried = False
        self._settled = False
        self._lock = threading.RLock()
        """Not waited for longer than PATIENCE: it may have been held by a thread that a fork left behind."""

    def ready(self) -> bool:
        """Make them if nobody has; whoever comes meanwhile waits, so that of the first requests none is missed."""
        if not self._settled and self._lock.acquire(timeout=PATIENCE):
            try:
                if not self._tried:
                    self._tried = True
                    try:
                        self.door = _make()
                    except Exception as error:
                        note("not instrumented", error)
                    self._settled = True
            finally:
                self._lock.release()
        return self.door is not None


_sdk = _Sdk()


def sdk() -> bool:
    """Whether there are providers, now that they are needed."""
    return _sdk.ready()


def door() -> "Door | None":
    """Where requests come in; None when there is nothing to trace them with."""
    return _sdk.door if _sdk.ready() else None


def _make() -> "Door":
    from .outbox import Outbox, Target

    silenced = logging.getLogger("opentelemetry")
    silenced.addHandler(logging.NullHandler())
    silenced.propagate = False  # its troubles are told by `note`, once; stderr is the app's
    environ = os.environ
    pairs = [pair.partition("=") for pair in environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",") if "=" in pair]
    said = [pair.partition("=") for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",") if "=" in pair]
    resource = {key.strip(): unquote(text.strip()) for key, _, text in said}
    resource |= {
        "service.name": environ.get("OTEL_SERVICE_NAME") or resource.get("service.name", "unknown_service"),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": ".".join(map(str, sys.version_info[:3])),
    }
    target = Target(
        endpoint=environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
        headers={key.strip(): unquote(text.strip()) for key, _, text in pairs},
        resource=resource,
    )
    from . import serving, tracing

    outbox = Outbox(target)
    provider = tracing.set_up(outbox)
    if environ.get("OTEL_LOGS_EXPORTER") != "none":
        lines.send_to(outbox, tracing.ids)
        unseen.tell_to(outbox)
    return serving.Door(provider.start_request, environ.get("ATOLL_OTEL_QUIET", ""))
