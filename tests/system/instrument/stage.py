"""Services as the node starts them, with what `instrument` adds, beside a receiver that records what they send."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import Check, CheckKind, Run, Service
from atoll.supervisor.bundle import Bundle
from atoll.supervisor.instrument import Sending, instrument
from tests.ports import free_port as free_port
from tests.system.instrument.receiver import Line, Receiver, Span

APPS = Path(__file__).with_name("apps")
TOKEN = "an ingest/token="
LIMIT = 20.0
"""Seconds that anything here may take."""


def environment(
    endpoint: str, bundle: Bundle, port: int, *, extra: dict[str, str] | None = None, quiet: str = "/healthz"
) -> dict[str, str]:
    """What the node would give the service."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("OTEL_", "PYTHON", "ATOLL_"))}
    given = {**inherited, "PORT": str(port), "PYTHONUNBUFFERED": "1", **(extra or {})}
    service = Service(
        name=ServiceName("app"),
        origin="test",
        check=Check(kind=CheckKind.HTTP, path=quiet),
        run=Run(command=("app",)),
    )
    sending = Sending(endpoint, token=TOKEN, python=str(bundle.python), node=str(bundle.node))
    return {**given, **instrument(service, InstanceId("app-1"), given, sending).variables}


@dataclass
class App:
    """A service that runs."""

    port: int
    process: subprocess.Popen[bytes]
    receiver: Receiver
    out: list[str]
    err: list[str]

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ask(self, count: int, path: str = "/orders/{n}") -> list[str]:
        """`count` requests, several at a time, each with a trace of its own; the trace ids."""
        traces = [f"{0xABC:016x}{number + 1:016x}" for number in range(count)]

        def one(number: int) -> None:
            parent = {"traceparent": f"00-{traces[number]}-{0xDEF:016x}-01"}
            status, text = self.get(path.format(n=number), parent)
            assert status == 200, text

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(count)))
        return traces

    def whole(self, traces: Sequence[str]) -> list[Span]:
        """The server spans, once there is one for each trace. Fails when one has none, or two."""
        wanted = set(traces)

        def there() -> bool:
            return {span.trace for span in self.receiver.servers()} >= wanted

        self.receiver.wait(there)
        found = [span for span in self.receiver.servers() if span.trace in wanted]
        assert sorted(span.trace for span in found) == sorted(traces), self.said()
        assert all(span.parent == f"{0xDEF:016x}" for span in found)
        return found

    def lines(self, traces: Sequence[str], text: str) -> list[Line]:
        """The log records that hold `text`, once there is one for each trace."""
        pattern = re.compile(text)

        def matching() -> list[Line]:
            return [line for line in self.receiver.lines if pattern.search(line.body)]

        self.receiver.wait(lambda: {line.trace for line in matching()} >= set(traces))
        assert sorted(line.trace for line in matching()) == sorted(traces), self.said()
        return matching()

    def said(self) -> str:
        return "".join([*self.out[-20:], *self.err[-20:], *self.receiver.bad])


@contextlib.contextmanager
def serving(
    command: Sequence[str], given: dict[str, str], receiver: Receiver, port: int, *, folder: Path = APPS
) -> Iterator[App]:
    """Start it, wait until it answers, end it as the node would."""
    process = subprocess.Popen(
        command, env=given, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    app = App(port, process, receiver, [], [])
    readers = [
        threading.Thread(target=_read, args=(stream, lines))
        for stream, lines in ((process.stdout, app.out), (process.stderr, app.err))
    ]
    for reader in readers:
        reader.start()
    try:
        until = time.monotonic() + LIMIT
        while not _answers(app):
            assert process.poll() is None, f"it ended: {app.said()}"
            assert time.monotonic() < until, f"it does not answer: {app.said()}"
            time.sleep(0.02)
        yield app
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(LIMIT / 2)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for reader in readers:
                reader.join()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def _answers(app: App) -> bool:
    try:
        return app.get("/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _read(stream: object, lines: list[str]) -> None:
    for raw in stream:  # type: ignore[attr-defined]
        lines += [raw.decode("utf-8", "replace")]


def virtual_environment(folder: Path, names: Sequence[str], python: str = sys.executable) -> Path:
    """An environment that holds only `names` and what they need, linked from ours; its python."""
    base = Path(python).resolve()
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to(base)
    version = subprocess.run(
        [base, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    packages = folder / "lib" / f"python{version}" / "site-packages"
    packages.mkdir(parents=True)
    waiting, done = list(names), set[str]()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in done:
            continue
        done.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another Python or platform
        for file in found.files or ():
            if ".." in file.parts or "__pycache__" in file.parts or file.is_absolute():
                continue
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(Path(str(found.locate_file(file))))
        waiting += [re.split(r"[^A-Za-z0-9._-]", one)[0] for one in found.requires or () if "extra ==" not in one]
    return folder / "bin" / "python"


def uv() -> str | None:
    """Where uv is."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


Start = Callable[..., contextlib.AbstractContextManager[App]]
