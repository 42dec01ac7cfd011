"""Retries that must happen, and those that must not, each observed on a real HAProxy."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from atoll.model.names import RouteName, ServiceName
from atoll.model.route import Route, Share
from tests.contract.gateway.rig import Echo, Running, free_ports, instance, running, service, snapshot_of

ALL = Route(name=RouteName("all"), shares=(Share(service=ServiceName("s")),))


class Hangup(Echo):
    """Reads the request, closes without a word."""

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        handler.close_connection = True


class OnceThenHangup(Echo):
    """Answers the first request of all, then closes without a word."""

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        if len(self.seen) == 1:
            super().respond(handler, asked)
        else:
            handler.close_connection = True


def split_request(haproxy: Running, method: str, *extra: str) -> bytes:
    """A request whose body comes in a second segment, as Python's http.client sends it."""
    with socket.create_connection(("127.0.0.1", haproxy.settings.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [f"{method} / HTTP/1.1", "Host: test", "Content-Length: 5", "Connection: close", *extra, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        time.sleep(0.05)
        connection.sendall(b"hello")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def test_an_idempotent_request_with_a_split_body_is_sent_again_and_a_plain_post_is_not(tmp_path: Path) -> None:
    with Hangup("bad") as bad:
        facts = snapshot_of([service("s")], [instance("s", bad.port)], [ALL])
        with running(facts, tmp_path) as haproxy:
            for method, extra, attempts in (
                ("PUT", (), 4),
                ("DELETE", (), 4),
                ("POST", ("Idempotency-Key: k1",), 4),
                ("PATCH", ("Idempotency-Key: k2",), 4),
                ("POST", (), 1),
                ("PATCH", (), 1),
            ):
                bad.seen.clear()
                answer = split_request(haproxy, method, *extra)
                assert answer.startswith(b"HTTP/1.1 502 "), (method, extra)
                problem = json.loads(answer.partition(b"\r\n\r\n")[2])
                assert problem["code"] == "upstream-answer"
                assert problem["service"] == "s"
                assert problem["instance"] == "/"
                assert problem["retryable"] is (attempts > 1)
                assert len(bad.seen) == attempts, (method, extra)
                assert {each["body"] for each in bad.seen} == {"hello"}


def test_a_get_whose_instance_hangs_up_is_answered_by_another_one(tmp_path: Path) -> None:
    with Hangup("bad") as bad, Echo("good") as good:
        facts = snapshot_of([service("s")], [instance("s", bad.port, "a"), instance("s", good.port, "b")], [ALL])
        with running(facts, tmp_path) as haproxy:
            assert {haproxy.ask("/").json()["name"] for _ in range(20)} == {"good"}
            assert bad.seen


def test_a_post_to_a_dead_port_goes_to_another_instance(tmp_path: Path) -> None:
    (nobody,) = free_ports(1)
    with Echo("good") as good:
        facts = snapshot_of([service("s")], [instance("s", nobody, "a"), instance("s", good.port, "b")], [ALL])
        with running(facts, tmp_path) as haproxy:
            answers = [haproxy.ask("/", method="POST", body=b"x") for _ in range(10)]
            assert {answer.status for answer in answers} == {200}
            assert len(good.seen) == 10


def test_a_large_body_streams_through_without_waiting_for_its_end(tmp_path: Path) -> None:
    with Echo("good") as good:
        facts = snapshot_of([service("s")], [instance("s", good.port)], [ALL])
        with running(facts, tmp_path) as haproxy:
            body = b"x" * 3_000_000
            answer = haproxy.ask("/", method="PUT", body=body)
            assert len(answer.json()["body"]) == len(body)


def test_a_hang_up_on_the_second_request_of_a_connection_is_silent_but_for_the_servers_eresp(tmp_path: Path) -> None:
    """HAProxy closes the client's connection without an answer; whoever counts errors must read `eresp`."""
    with OnceThenHangup("bad") as bad:
        facts = snapshot_of([service("s")], [instance("s", bad.port)], [ALL])
        with running(facts, tmp_path) as haproxy:
            request = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
            with socket.create_connection(("127.0.0.1", haproxy.settings.port), timeout=10) as connection:
                connection.sendall(request)
                answered = b""
                while not answered.endswith(b"}"):
                    answered += connection.recv(65536)
                assert answered.startswith(b"HTTP/1.1 200 ")
                connection.sendall(request)
                assert connection.recv(65536) == b""
            (server,) = (values for (name, _), values in haproxy.servers().items() if name == "s")
            assert int(server["eresp"]) == 1
            assert int(server["hrsp_5xx"]) == 0


def test_an_event_of_a_stream_arrives_when_it_is_sent(tmp_path: Path) -> None:
    events = 16
    arrived = threading.Semaphore(0)

    class Streaming(Echo):
        def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
            handler.send_response(200)
            handler.send_header("content-type", "text/event-stream")
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            for _ in range(events):
                event = f"data: {time.monotonic()}\n\n".encode()
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                handler.wfile.flush()
                assert arrived.acquire(timeout=10), "none is made before the one before has arrived"
            handler.wfile.write(b"0\r\n\r\n")

    with Streaming("events") as upstream:
        facts = snapshot_of([service("s")], [instance("s", upstream.port)], [ALL])
        with (
            running(facts, tmp_path) as haproxy,
            socket.create_connection(("127.0.0.1", haproxy.settings.port), timeout=10) as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            delays: list[float] = []
            received = b""
            while len(delays) < events:
                received += connection.recv(65536)
                now = time.monotonic()
                while b"data: " in received and b"\n\n" in received:
                    event, _, received = received.partition(b"data: ")[2].partition(b"\n\n")
                    delays.append(now - float(event))
                    arrived.release()
            # 0.1 to 0.2 without http-no-delay; a busy machine makes some late, not most
            assert sorted(delays)[len(delays) // 4] < 0.05


def test_a_websocket_is_tunnelled_both_ways_and_other_upgrades_are_not(tmp_path: Path) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    heads: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            heads.append(head.lower())
            if b"upgrade: websocket" in head.lower():
                accept = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of the sample key of RFC 6455
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
                )
                while data := connection.recv(65536):
                    connection.sendall(data.upper())
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        facts = snapshot_of([service("s")], [instance("s", server.getsockname()[1])], [ALL])
        with running(facts, tmp_path) as haproxy:
            with socket.create_connection(("127.0.0.1", haproxy.settings.port), timeout=10) as connection:
                connection.sendall(
                    b"GET /ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade, x-real-ip\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
                )
                assert connection.recv(65536).startswith(b"HTTP/1.1 101 ")
                for word in (b"hello", b"again"):
                    connection.sendall(word)
                    assert connection.recv(65536) == word.upper()
            smuggle = (
                b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
                b"Connection: Upgrade, HTTP2-Settings\r\n\r\n"
            )
            with socket.create_connection(("127.0.0.1", haproxy.settings.port), timeout=10) as connection:
                connection.sendall(smuggle)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert b"\r\nconnection: upgrade\r\n" in heads[0]
            assert b"x-real-ip\r\n" not in heads[0]
            assert b"upgrade" not in heads[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)  # closing alone leaves the thread in accept()
        server.close()
