"""The lines of the request log, from a real HAProxy, read as they come."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from atoll.gateway.request_log import AGENT_LIMIT, LINE_LIMIT, PATH_LIMIT, RequestLog
from atoll.gateway.trace import REQUEST_ID_LIMIT
from atoll.model.service import Protocol
from tests.contract.gateway.lines import COLUMNS, Line, Lines
from tests.contract.gateway.rig import (
    Echo,
    Running,
    free_ports,
    instance,
    running,
    service,
    small_settings,
    snapshot_of,
)
from tests.contract.gateway.test_checks import SERVING, grpc_server
from tests.unit.gateway.facts import route

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


class Moody:
    """A server whose path says how it behaves."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.server.getsockname()[1]
        self.freed = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                if not data:
                    return
                head += data
            mood = head.split(b" ")[1].rsplit(b"/", 1)[1]
            if mood.isdigit():
                connection.sendall(b"HTTP/1.1 %s Said\r\nContent-Length: 0\r\n\r\n" % mood)
            elif mood == b"cut":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
            elif mood == b"events":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                for number in range(3):
                    connection.sendall(b"data: %d\n\n" % number)
                    time.sleep(0.03)
            elif mood == b"socket":
                accept = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of the sample key of RFC 6455
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
                )
                while data := connection.recv(65536):
                    connection.sendall(data.upper())
            elif mood == b"hang":
                self.freed.wait(20)
            # else it closes without an answer

    def close(self) -> None:
        self.freed.set()
        self.server.shutdown(socket.SHUT_RDWR)  # closing alone leaves the thread in accept()
        self.server.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def lines(folder: Path) -> Iterator[Lines]:
    with Lines(folder / "requests.sock") as reader:
        yield reader


@pytest.fixture(scope="module")
def haproxy(folder: Path, lines: Lines) -> Iterator[Running]:
    moody = Moody()
    with Echo("one") as echo, grpc_server() as (grpc_port, servicer):
        servicer.set("", SERVING)
        servicer.set("a", SERVING)
        (dead,) = free_ports(1)
        facts = snapshot_of(
            [
                *(service(name) for name in ("orders", "dead", "empty", "two", "web")),
                service("moody"),
                service("payments", protocol=Protocol.GRPC),
                service("db", protocol=Protocol.TCP, mesh_index=0),
            ],
            [
                instance("orders", echo.port, "orders-1"),
                instance("dead", dead),
                instance("two", dead, "gone"),
                instance("two", echo.port, "here"),
                instance("moody", moody.port),
                instance("payments", grpc_port, protocol=Protocol.GRPC),
                instance("db", echo.port, "db-1", protocol=Protocol.TCP),
            ],
            [
                route("orders-api", "orders", path="/api/orders"),
                route("no-posts", "orders", path="/read", methods=("GET",)),
                *(route(name, name, path=f"/{name}") for name in ("dead", "empty", "two", "moody")),
                route("grpc", "payments", path="/grpc.health.v1.Health"),
            ],
        )
        log = RequestLog(socket=lines.path, ring_bytes=1 << 20)
        with running(facts, folder, small_settings(connect_timeout=0.2, server_timeout=2.0), log) as haproxy:
            yield haproxy
    moody.close()


def at(path: str, edge: str = "gateway") -> Callable[[Line], bool]:
    return lambda line: line["Path"] == path and line["Edge"] == edge


def test_a_request_has_a_line_with_all_that_is_known_of_it(haproxy: Running, lines: Lines) -> None:
    headers = [("User-Agent", "curl/8"), ("X-Request-Id", "mine-7"), ("traceparent", VALID)]
    before = time.time() * 1e6
    answer = haproxy.ask("/api/orders/7?card=4111", headers=headers, host="shop:80", method="POST", body=b"x" * 50)
    line = lines.next(at("/api/orders/7"))
    assert list(line) == COLUMNS
    assert before - 20_000 <= int(line["Started"]) <= int(line["Ended"]) <= time.time() * 1e6
    assert line["Trace"] == answer.seen_header("traceparent")[0]
    assert re.fullmatch("orders-1:[0-9a-f]{8}", line["Server"])
    assert int(line["BytesIn"]) > 50
    assert int(line["BytesOut"]) > 200
    assert {int(line[timer]) for timer in ("Reading", "Waiting", "Connecting", "Answering")} <= set(range(-1, 60_000))
    fixed = {
        "Edge": "gateway",
        "Parent": VALID,
        "Target": "orders-api|orders|orders",
        "Caller": "-",
        "Method": "POST",
        "Protocol": "HTTP/1.1",
        "Status": "200",
        "Termination": "--",
        "Retries": "0",
        "Client": "127.0.0.1",
        "Mark": "-",
        "Headers": "{mine-7|shop:80|curl/8}",
        "Path": "/api/orders/7",
        "Complete": ".2",
    }
    assert {name: line[name] for name in fixed} == fixed
    assert "4111" not in lines.received.decode()


@pytest.mark.parametrize(
    ("path", "status", "termination", "target"),
    [
        ("/moody/204", 204, "--", "moody|moody|moody"),
        ("/moody/302", 302, "--", "moody|moody|moody"),
        ("/moody/404", 404, "--", "moody|moody|moody"),
        ("/moody/500", 500, "--", "moody|moody|moody"),
        ("/moody/cut", 200, "SD", "moody|moody|moody"),
        ("/moody/nothing", 502, "SH", "moody|moody|moody"),
        ("/moody/hang", 504, "sH", "moody|moody|moody"),
        ("/moody/events", 200, "--", "moody|moody|moody"),
        ("/nowhere", 404, "LR", "-"),
        ("/dead/x", 503, "SC", "dead|dead|dead"),
        ("/empty/x", 503, "SC", "empty|empty|empty"),
        ("/read/x", 405, "LR", "405"),
        ("/a%2fb", 400, "LR", "-"),
    ],
)
def test_every_kind_of_answer_has_its_line(
    haproxy: Running, lines: Lines, path: str, status: int, termination: str, target: str
) -> None:
    haproxy.raw(
        b"%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        % (b"DELETE" if "read" in path else b"GET", path.encode())
    )
    line = lines.next(at(path))
    assert (int(line["Status"]), line["Termination"], line["Target"]) == (status, termination, target)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", line["Trace"])
    if termination == "SC":
        assert (line["Server"] == "<NOSRV>") == ("empty" in path)
        assert int(line["Retries"].lstrip("+")) == (0 if "empty" in path else 3)


def test_a_request_that_another_instance_had_to_answer_says_so(haproxy: Running, lines: Lines) -> None:
    for number in range(4):
        assert haproxy.ask(f"/two/{number}").status == 200
    found = [lines.next(at(f"/two/{number}")) for number in range(4)]
    moved = [line for line in found if line["Retries"].startswith("+")]
    assert moved
    assert {line["Server"].split(":")[0] for line in found} == {"here"}


def test_a_client_that_leaves_has_a_line_without_a_status(haproxy: Running, lines: Lines) -> None:
    with socket.create_connection(("127.0.0.1", haproxy.settings.port)) as connection:
        connection.sendall(b"GET /moody/a/hang HTTP/1.1\r\nHost: t\r\n\r\n")
        time.sleep(0.1)
    line = lines.next(at("/moody/a/hang"))
    assert line["Termination"][0] == "C"
    assert int(line["Status"]) <= 0 or line["Status"] == "400"


def test_a_websocket_has_its_line_when_it_ends(haproxy: Running, lines: Lines) -> None:
    with socket.create_connection(("127.0.0.1", haproxy.settings.port), timeout=5) as connection:
        connection.sendall(
            b"GET /moody/socket HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 101 ")
        connection.sendall(b"hello")
        assert connection.recv(65536) == b"HELLO"
        assert not any(at("/moody/socket")(line) for line in lines.requests)
    line = lines.next(at("/moody/socket"))
    assert line["Status"] == "101"


def test_a_grpc_call_has_its_line(haproxy: Running, lines: Lines) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{haproxy.settings.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(service="a"), timeout=5).status == SERVING
    line = lines.next(at("/grpc.health.v1.Health/Check"))
    assert (line["Protocol"], line["Status"], line["Target"]) == ("HTTP/2.0", "200", "grpc|payments|payments")
    assert line["Mark"] == "-"


def test_a_grpc_call_that_fails_before_its_first_message_says_its_status(haproxy: Running, lines: Lines) -> None:
    """What comes after a message is in the trailer, which HAProxy passes on and cannot read."""
    marks = {}
    with grpc.insecure_channel(f"127.0.0.1:{haproxy.settings.port}") as channel:
        for method, request in (
            ("Nothing", b""),
            ("Check", health_pb2.HealthCheckRequest(service="x").SerializeToString()),
        ):
            path = f"/grpc.health.v1.Health/{method}"
            call: Any = channel.unary_unary(path)
            with pytest.raises(grpc.RpcError) as error:
                call(request, timeout=5)
            line = lines.next(at(path))
            marks[error.value.code().name] = (line["Status"], line["Mark"])
    assert marks == {"UNIMPLEMENTED": ("200", "grpc=12"), "NOT_FOUND": ("200", "-")}


def test_what_cannot_be_read_as_a_request_has_a_line_too(haproxy: Running, lines: Lines) -> None:
    assert haproxy.raw(b"GET /x\tHTTP\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    line = lines.next(lambda line: line["Method"] == "<BADREQ>")
    assert (line["Status"], line["Trace"], line["Started"], line["Termination"]) == ("400", "-", "-", "PR")


def test_the_mesh_says_who_calls_when_it_is_told_and_knows_the_name(haproxy: Running, lines: Lines) -> None:
    for number, (caller, expected) in enumerate([("web", "web"), ("stranger", "-"), ("web\tx", "-"), (None, "-")]):
        headers = [("traceparent", VALID)] + ([("x-atoll-caller", caller)] if caller else [])
        answer = haproxy.ask(f"/m/{number}", host="orders", port=haproxy.settings.mesh_port, headers=headers)
        line = lines.next(at(f"/m/{number}", "mesh"))
        assert (line["Caller"], line["Target"], line["Parent"]) == (expected, "|orders|orders", VALID)
        assert line["Trace"] == answer.seen_header("traceparent")[0]
        assert answer.seen_header("x-atoll-caller") == []


def test_a_tcp_connection_has_a_line(haproxy: Running, lines: Lines) -> None:
    port = haproxy.settings.mesh_ports
    assert haproxy.raw(b"GET / HTTP/1.0\r\n\r\n", port=port).startswith(b"HTTP/1.1 200 ")
    line = lines.next(lambda line: line["Edge"] == f"tcp:{port}")
    assert (line["Target"], line["Server"][:4], line["Method"], line["Status"]) == ("|db|", "db-1", "-", "0")
    assert int(line["BytesOut"]) > 100


HOSTILE = [
    b'/api/orders/q"uote%09%0a%00\\x',
    b"/api/orders/%1b[31m" + b"%ff" * 100,
    b"/api/orders/${HOME}%[env(HOME)];|&<script>",
    b"/api/orders/" + b"a" * 9000,
    b"/api/orders/" + b'"' * 4000,
]


@pytest.mark.parametrize("path", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_that_a_client_sends_breaks_a_line(haproxy: Running, lines: Lines, path: bytes) -> None:
    ugly = b'a\tb\x01 "quoted" \\ \xff\xfe \xe2\x80\xae' * 20
    host = f"hostile-{HOSTILE.index(path)}"
    haproxy.raw(
        b"GET " + path + b" HTTP/1.1\r\nHost: " + host.encode() + b"\r\nUser-Agent: " + ugly + b"\r\nX-Request-Id: " + ugly
        + b"\r\ntraceparent: " + ugly + b"\r\ntracestate: " + ugly + b"\r\nCookie: " + ugly
        + b"\r\nConnection: close\r\n\r\n"
    )  # fmt: skip
    haproxy.ask(f"/api/orders/after-{host}")
    lines.next(at(f"/api/orders/after-{host}"))
    # each line has every column: see Lines.requests
    (line,) = [line for line in lines.requests if f"|{host}|" in line["Headers"]]
    written = r"a#09b#01 #22quoted#22 \ #FF#FE #E2#80#AE"
    assert line["Headers"].startswith("{" + written)
    assert line["Headers"].split("|")[2].startswith(written)
    assert (line["Parent"], line["Complete"]) == ("-", ".2")
    for text in lines.received.split(b"\n"):
        assert len(text) < LINE_LIMIT
        assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f-\xff]", text)


def test_a_line_is_bounded_whatever_the_client_sends(haproxy: Running, lines: Lines) -> None:
    haproxy.ask("/api/orders/long-" + "x" * 5000, headers=[("User-Agent", "y" * 3000), ("X-Request-Id", "z" * 129)])
    line = lines.next(lambda line: "long-" in line["Path"])
    assert len(line["Path"]) == PATH_LIMIT
    given, _, agent = line["Headers"].strip("{}").split("|")
    # an id that is too long is seen to be so
    assert (len(agent), len(given)) == (AGENT_LIMIT, REQUEST_ID_LIMIT + 1)


def test_lines_are_numbered_from_0_for_each_listener(haproxy: Running, lines: Lines) -> None:
    for edge in ("gateway", "mesh"):
        haproxy.ask("/numbered", host="orders", port=None if edge == "gateway" else haproxy.settings.mesh_port)
        lines.next(at("/numbered", edge))

        def numbers(edge: str = edge) -> list[int]:
            return sorted(int(line["Line"]) for line in lines.requests if line["Edge"] == edge)

        # two threads write: a line may overtake any other, also of a test before
        haproxy.wait_for(lambda numbers=numbers: numbers() == list(range(len(numbers()))))
    assert len({line["Run"] for line in lines.requests}) == 1


def test_the_log_waits_in_haproxy_until_somebody_listens(tmp_path: Path) -> None:
    with Echo("one") as echo:
        facts = snapshot_of([service("orders")], [instance("orders", echo.port)], [route("all", "orders")])
        log = RequestLog(socket=tmp_path / "late.sock", ring_bytes=1 << 20)
        with running(facts, tmp_path, small_settings(), log) as haproxy:
            assert [haproxy.ask(f"/{number}").status for number in range(5)] == [200] * 5
            with Lines(log.socket) as late:
                # two threads write: a line may overtake any other
                assert {late.next(at(f"/{number}"))["Line"] for number in range(5)} == {"0", "1", "2", "3", "4"}
