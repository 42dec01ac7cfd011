"""A telemetry process of its own for tests: started on free ports, asked over its private socket, killed if need be."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from atoll.settings import load

PROTOBUF = "application/x-protobuf"
ATOLL = [sys.executable, "-m", "atoll.cli.main"]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Telemetry:
    """`atoll telemetry` on a state folder."""

    def __init__(self, state: Path, *, before: Sequence[str] = (), **environ: str) -> None:
        self.state = state
        self.before = before
        self.log = state.parent / "telemetry.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ATOLL_", "OTEL_"))}
        self.environ = {**kept, "ATOLL_TELEMETRY_HTTP_PORT": "0", "ATOLL_TELEMETRY_GRPC_PORT": "0", **environ}
        self.process: subprocess.Popen[bytes] | None = None
        self.http_port = self.grpc_port = 0

    def start(self, within: float = 25.0) -> None:
        """Start it; returns when it takes OTLP. It keeps its ports when it is started again."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self.before, *ATOLL, "--state", str(self.state), "telemetry"],
                env=self.environ,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + within
        while True:
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                status = self.status()
                if status["grpc_port"]:
                    break
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.03)
        self.http_port, self.grpc_port = status["http_port"], status["grpc_port"]
        self.environ["ATOLL_TELEMETRY_HTTP_PORT"] = str(self.http_port)
        self.environ["ATOLL_TELEMETRY_GRPC_PORT"] = str(self.grpc_port)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def memory(self) -> int:
        """Bytes resident."""
        return int(psutil.Process(self.pid).memory_info().rss)

    @property
    def cpu(self) -> float:
        """Seconds of processor time."""
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)

    @property
    def token(self) -> str:
        return (self.state / "ingest-token").read_text().strip()

    def ask(self, path: str) -> Any:
        """A question over the private socket."""
        connection = http.client.HTTPConnection("telemetry", timeout=15)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(15)
        with contextlib.closing(connection):
            connection.sock.connect(str(load(self.state, {}).telemetry_socket))
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, (answer.status, body)
            return json.loads(body) if "json" in answer.headers["content-type"] else body.decode()

    def status(self) -> Any:
        return self.ask("/api/v1/telemetry/status")

    def rows(self, table: str) -> int:
        """Rows on disk; what is looked at is at most 5 s old, so ask for what was there before."""
        return int(self.status()["engine"]["tables"].get(table, {}).get("rows", 0))

    def send(self, path: str, body: Any = b"", *, media: str = PROTOBUF, timeout: float = 20, **headers: str) -> Answer:
        """One export."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        said = {"authorization": f"Bearer {self.token}", "content-type": media}
        said.update({name.replace("_", "-"): value for name, value in headers.items()})
        with contextlib.closing(connection):
            connection.request("POST", path, body, said)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, told, answer.read())


@contextlib.contextmanager
def telemetry(
    folder: Path, environ: Mapping[str, str] | None = None, *, before: Sequence[str] = ()
) -> Iterator[Telemetry]:
    """One that runs, for the length of the block; `before`: words in front of its command, which it replaces."""
    state = folder / "state"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    one = Telemetry(state, before=before, **(environ or {}))
    try:
        one.start()
        yield one
    finally:
        if one.process is not None and one.process.poll() is None:
            one.kill()
