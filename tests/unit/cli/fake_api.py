"""A control plane that says what the test scripted, over a real unix socket; and the command line under test."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec
from click.testing import CliRunner

from atoll.cli.invocation import Invocation
from atoll.cli.main import run
from atoll.kit.clock import Clock
from atoll.model.keys import instance_key, leader_key, maintenance_key, route_key, service_key
from atoll.model.leader import Leader
from atoll.model.maintenance import Maintenance, parse_target
from atoll.model.report import NodeReport
from atoll.model.route import Route
from atoll.model.service import Instance, Service

TOKEN = "test-token"


class Request(NamedTuple):
    """One request as it came in."""

    method: str
    path: str
    query: list[tuple[str, str]]
    body: Any
    headers: Mapping[str, str]


class FakeApi:
    """Answers `facts` and `nodes` from what it is given, everything else from `answers`; or misbehaves as told."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.revision = 7
        self.facts: dict[str, Any] = {}
        self.reports: list[dict[str, Any]] = []
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.requests: list[Request] = []
        self.raw: bytes | None = None
        """Sent instead of any answer; then the connection is closed."""
        self.hang = False
        """Take the request and say nothing."""
        self.drip = False
        """Answer with one byte every 20 ms, for ever."""
        self.closing = threading.Event()
        self.server: socketserver.ThreadingUnixStreamServer | None = None

    def put(self, *facts: Service | Instance | Route | Leader | Maintenance) -> None:
        """Add facts."""
        for fact in facts:
            match fact:
                case Service():
                    key: str = service_key(fact.name)
                case Instance():
                    key = instance_key(fact.service, fact.id)
                case Route():
                    key = route_key(fact.name)
                case Leader():
                    key = leader_key(fact.service)
                case Maintenance():
                    key = maintenance_key(parse_target(fact.target))
            self.facts[key] = msgspec.to_builtins(fact)

    def report(self, report: NodeReport, age: float = 0.2) -> None:
        """Add a node."""
        self.reports.append({"report": msgspec.to_builtins(report), "age": age})

    def sent(self, method: str) -> list[Request]:
        """The requests of one method."""
        return [request for request in self.requests if request.method == method]

    def answer(self, request: Request) -> tuple[int, Any]:
        """What the control plane says."""
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"code": "unauthorized", "title": "Unauthorized", "detail": "no token", "status": 401}
        scripted = self.answers.get((request.method, request.path))
        if scripted is not None:
            return scripted
        if request.path == "/api/v1/facts":
            prefixes = [value for name, value in request.query if name == "prefix"]
            found = [
                {"key": key, "value": value, "modified": 1}
                for key, value in sorted(self.facts.items())
                if any(key.startswith(prefix) for prefix in prefixes)
            ]
            return 200, {"revision": self.revision, "facts": found}
        if request.path == "/api/v1/nodes":
            return 200, {"nodes": self.reports}
        return 404, {"code": "not-found", "title": "Not found", "detail": f"no {request.path}", "status": 404}

    @contextlib.contextmanager
    def running(self) -> Iterator[FakeApi]:
        """Serve until the block ends."""
        self.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *_: Any) -> None:
                pass

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                parts = urlsplit(self.path)
                request = Request(
                    self.command,
                    parts.path,
                    parse_qsl(parts.query, keep_blank_values=True),
                    json.loads(body) if body else None,
                    dict(self.headers.items()),
                )
                fake.requests.append(request)
                self.close_connection = True
                if fake.hang:
                    fake.closing.wait(20)
                    return
                if fake.raw is not None:
                    self.wfile.write(fake.raw)
                    return
                if fake.drip:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                    with contextlib.suppress(OSError):
                        while not fake.closing.wait(0.02):
                            self.wfile.write(b" ")
                            self.wfile.flush()
                    return
                status, answer = fake.answer(request)
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

        self.server = socketserver.ThreadingUnixStreamServer(str(self.socket), Handler)
        self.server.daemon_threads = True
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            self.server.shutdown()
            self.server.server_close()
            thread.join(5)


class Result(NamedTuple):
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)


class Cli:
    """Runs command lines in this process, in a folder with a platform."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock = clock
        self.environ: dict[str, str] = {}

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        invocation = Invocation(self.environ, self.clock)
        invocation.folder = self.folder
        with CliRunner().isolation(input=stdin) as (out, err, _):
            code = run(arguments, invocation)
            return Result(code, out.getvalue().decode(), err.getvalue().decode())
