from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.supervisor.bundle import Bundle, ensure
from tests.system.instrument.receiver import Receiver, receiving
from tests.system.instrument.stage import App, Start, environment, free_port, serving, virtual_environment


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return ensure(tmp_path_factory.mktemp("cache") / "instrument", time.time())


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with web frameworks and without OpenTelemetry's SDK, as a user's."""
    names = ("fastapi", "uvicorn", "httptools", "flask", "gunicorn")
    return str(virtual_environment(tmp_path_factory.mktemp("venv") / "clean", names))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found
    assert not found.bad


@pytest.fixture
def start(receiver: Receiver, bundle: Bundle) -> Start:
    """Start a command as the node would; `{port}` in it is the port."""

    @contextlib.contextmanager
    def started(*command: str, extra: dict[str, str] | None = None, folder: Path | None = None) -> Iterator[App]:
        port = free_port()
        given = environment(receiver.endpoint, bundle, port, extra=extra)
        words = [word.format(port=port) for word in command]
        with serving(words, given, receiver, port, **({} if folder is None else {"folder": folder})) as app:
            yield app

    return started
