"""Which instrumentation goes with which library: used once the app imports the library, never before."""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

CONTRIB = "opentelemetry.instrumentation."


class Library(NamedTuple):
    """`module` being imported, `classes` of the instrumentation `package` are used. `word` switches it off by name."""

    module: str
    package: str
    classes: tuple[str, ...]
    word: str
    options: Mapping[str, Any] = MappingProxyType({})
    wanted: Callable[[], bool] = lambda: True


def before_fastapi_had_its_own() -> bool:
    """FastAPI makes spans by itself since 0.143: better ones than any from outside."""
    from importlib import metadata

    try:
        parts = metadata.version("fastapi").split(".")
        return (int(parts[0]), int(parts[1])) < (0, 143)
    except (metadata.PackageNotFoundError, ValueError, IndexError):
        return False


LIBRARIES = (
    Library(
        "fastapi", "fastapi", ("FastAPIInstrumentor",), "fastapi",
        {"exclude_spans": ["send", "receive"]}, before_fastapi_had_its_own,
    ),
    Library("flask", "flask", ("FlaskInstrumentor",), "flask"),
    Library("httpx", "httpx", ("HTTPXClientInstrumentor",), "httpx"),
    Library("httpx2", "httpx", ("HTTPX2ClientInstrumentor",), "httpx2"),
    Library("requests", "requests", ("RequestsInstrumentor",), "requests"),
    Library("urllib3", "urllib3", ("URLLib3Instrumentor",), "urllib3"),
    Library("urllib.request", "urllib", ("URLLibInstrumentor",), "urllib"),
    Library("aiohttp.client", "aiohttp_client", ("AioHttpClientInstrumentor",), "aiohttp-client"),
    Library("aiohttp.web", "aiohttp_server", ("AioHttpServerInstrumentor",), "aiohttp-server"),
    Library(
        "grpc", "grpc",
        (
            "GrpcInstrumentorClient", "GrpcInstrumentorServer", "GrpcAioInstrumentorClient", "GrpcAioInstrumentorServer",
        ),
        "grpc",
    ),
    Library("sqlite3", "sqlite3", ("SQLite3Instrumentor",), "sqlite3"),
    Library("psycopg", "psycopg", ("PsycopgInstrumentor",), "psycopg"),
    Library("redis", "redis", ("RedisInstrumentor",), "redis"),
    Library("sqlalchemy", "sqlalchemy", ("SQLAlchemyInstrumentor",), "sqlalchemy"),
    Library("celery", "celery", ("CeleryInstrumentor",), "celery"),
)  # fmt: skip


def switched_off() -> frozenset[str]:
    """The words in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS."""
    said = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    return frozenset(word.strip().lower() for word in said.split(","))


def instrument(library: Library) -> None:
    """Use its instrumentation. Raises what says so when it is not made for the version that the app has."""
    module = import_module(CONTRIB + library.package)
    for name in library.classes:
        getattr(module, name)().instrument(raise_exception_on_conflict=True, **library.options)


def django(module: ModuleType, ready: Callable[[], bool]) -> None:
    """Django reads its middleware once; ours goes in just before."""
    handler = module.BaseHandler
    original = handler.load_middleware

    def load_middleware(self: Any, *arguments: Any, **named: Any) -> Any:
        if ready():
            from .imports import act

            act("django", lambda _: import_module(f"{CONTRIB}django").DjangoInstrumentor().instrument(), module)
        return original(self, *arguments, **named)

    handler.load_middleware = load_middleware
