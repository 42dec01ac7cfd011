"""Injected faults on a real HAProxy: they strike whom they say, say so, and end although nobody ends them."""

from __future__ import annotations

import http.client
import time
from pathlib import Path
from typing import Any

import pytest

from atoll.gateway.request_log import RequestLog
from atoll.model.breaker import Breaker
from atoll.model.fallback import USUAL, Fallback
from atoll.model.fault import Fault, FaultName
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.page import Page
from atoll.model.policy import Call, Policy
from atoll.model.route import Match, Route, Share
from tests.contract.gateway.lines import Lines
from tests.contract.gateway.rig import Answer, Echo, free_range, instance, running, service, small_settings, snapshot_of

ORDERS = ServiceName("orders")
ROUTES = [
    Route(name=RouteName(name), match=Match(path=PathText(f"/{name}")), shares=(Share(service=ORDERS),))
    for name in ("orders", "shop")
]


def fault(name: str = "f", lasts: float = 60.0, **values: Any) -> Fault:
    now = time.time()
    return Fault(name=FaultName(name), until=now + lasts, since=now, reason="a test", **values)


def facts(port: int, *faults: Fault, **values: Any) -> Any:
    return snapshot_of([service("orders", **values)], [instance("orders", port)], ROUTES, faults)


def injected(answer: Answer) -> str | None:
    return answer.header("x-fault-injected")


def test_a_delayed_request_takes_that_much_longer_is_answered_by_the_service_and_says_so(tmp_path: Path) -> None:
    with Echo("o") as echo, running(facts(echo.port, fault(service=ORDERS, delay=0.3)), tmp_path) as haproxy:
        began = time.monotonic()
        answer = haproxy.ask("/orders/1")
        assert (answer.status, injected(answer), len(echo.seen)) == (200, "delay", 1)
        assert time.monotonic() - began >= 0.3


def test_an_aborted_request_is_answered_as_a_problem_with_the_faults_status_and_never_reaches_the_service(
    tmp_path: Path,
) -> None:
    with Echo("o") as echo, running(facts(echo.port, fault(service=ORDERS, abort=418)), tmp_path) as haproxy:
        answer = haproxy.ask("/orders/1")
        said = answer.json()
        assert (answer.status, injected(answer), echo.seen) == (418, "abort", [])
        assert (said["code"], said["status"], said["origin"]) == ("fault-injected", 418, "gateway")
        assert said["service"] == "orders"


def test_a_dropped_request_gets_no_answer_at_all(tmp_path: Path) -> None:
    with Echo("o") as echo, running(facts(echo.port, fault(service=ORDERS, drop=True)), tmp_path) as haproxy:
        with pytest.raises(http.client.RemoteDisconnected):
            haproxy.ask("/orders/1")
        assert echo.seen == []


def test_only_the_named_route_is_struck_and_only_requests_with_the_named_header(tmp_path: Path) -> None:
    only = fault(route=RouteName("shop"), abort=503, header="x-user", value="ana=1")
    with Echo("o") as echo, running(facts(echo.port, only), tmp_path) as haproxy:
        assert haproxy.ask("/shop", headers=[("X-User", "ana=1")]).status == 503
        assert haproxy.ask("/shop", headers=[("X-User", "bob")]).status == 200
        assert haproxy.ask("/shop").status == 200
        assert haproxy.ask("/orders", headers=[("X-User", "ana=1")]).status == 200


def test_only_the_named_caller_is_struck(tmp_path: Path) -> None:
    services = [
        service("orders"),
        service("web", mesh_index=1, calls={ORDERS: Call(policy=Policy(timeout=5), mesh_index=2)}),
    ]
    ports = free_range(3)
    struck = fault(service=ORDERS, caller=ServiceName("web"), abort=500)
    with Echo("o") as echo:
        snapshot = snapshot_of(services, [instance("orders", echo.port)], ROUTES, [struck])
        settings = small_settings(mesh_ports=ports, mesh_count=3)
        with running(snapshot, tmp_path, settings) as haproxy:
            assert haproxy.ask("/", port=ports + 2).status == 500
            assert haproxy.ask("/", port=ports).status == 200
            assert haproxy.ask("/orders").status == 200


def test_a_caller_that_names_itself_is_known_where_requests_are_logged(tmp_path: Path) -> None:
    services = [service("orders"), service("web", mesh_index=1)]
    struck = fault(service=ORDERS, caller=ServiceName("web"), abort=500)
    log = RequestLog(socket=tmp_path / "log.sock", ring_bytes=1 << 20)
    with Echo("o") as echo:
        snapshot = snapshot_of(services, [instance("orders", echo.port)], ROUTES, [struck])
        with running(snapshot, tmp_path, log=log) as haproxy:
            mesh = haproxy.settings.mesh_port
            assert haproxy.ask("/", host="orders", port=mesh, headers=[("x-atoll-caller", "web")]).status == 500
            assert haproxy.ask("/", host="orders", port=mesh, headers=[("x-atoll-caller", "other")]).status == 200
            assert haproxy.ask("/orders", headers=[("x-atoll-caller", "web")]).status == 200


def test_a_fault_strikes_its_share_of_the_requests(tmp_path: Path) -> None:
    with (
        Echo("o") as echo,
        running(facts(echo.port, fault(service=ORDERS, abort=404, percent=30)), tmp_path) as haproxy,
    ):
        struck = sum(haproxy.ask("/orders").status == 404 for _ in range(200))
        assert 25 <= struck <= 100, "30% of 200 is 60; outside of this less than once in a billion runs"


def test_a_fault_is_over_by_itself(tmp_path: Path) -> None:
    began = time.time()
    with Echo("o") as echo, running(facts(echo.port, fault(service=ORDERS, abort=503, lasts=1)), tmp_path) as haproxy:
        assert haproxy.ask("/orders").status == 503 or time.time() >= began + 1, "a start may take as long as the fault"
        haproxy.wait_for(lambda: haproxy.ask("/orders").status == 200)
        assert injected(haproxy.ask("/orders")) is None


def test_two_faults_of_one_request_wait_for_both_and_end_it_once(tmp_path: Path) -> None:
    faults = (fault("a", service=ORDERS, delay=0.2), fault("b", route=RouteName("shop"), delay=0.2, abort=502))
    with Echo("o") as echo, running(facts(echo.port, *faults), tmp_path) as haproxy:
        began = time.monotonic()
        answer = haproxy.ask("/shop")
        assert (answer.status, injected(answer)) == (502, "abort")
        assert time.monotonic() - began >= 0.4


def test_injected_failures_open_the_breaker_whose_refusals_are_not_struck(tmp_path: Path) -> None:
    guarded = Policy(circuit_breaker=Breaker(enabled=True, min_requests=5, open=60))
    with (
        Echo("o") as echo,
        running(facts(echo.port, fault(service=ORDERS, abort=500, delay=0.01), policy=guarded), tmp_path) as haproxy,
    ):
        assert [haproxy.ask("/orders").status for _ in range(6)] == [500] * 6
        refused = haproxy.ask("/orders")
        assert (refused.json()["code"], injected(refused)) == ("breaker-open", None)


@pytest.mark.parametrize("effect", [{"abort": 500}, {"abort": 503}, {"drop": True}], ids=["500", "503", "dropped"])
def test_injected_failures_are_fallen_back_from_as_from_real_ones(tmp_path: Path, effect: dict[str, Any]) -> None:
    policy = Policy(fallback=Fallback(static=Page(status=203, body="instead"), on=(*USUAL, "500")))
    with (
        Echo("o") as echo,
        running(facts(echo.port, fault(service=ORDERS, **effect), policy=policy), tmp_path) as haproxy,
    ):
        answer = haproxy.ask("/orders")
        assert (answer.status, answer.body, answer.header("x-fallback")) == (203, b"instead", "static")
        assert echo.seen == []


def test_the_request_log_names_the_fault(tmp_path: Path) -> None:
    log = RequestLog(socket=tmp_path / "log.sock", ring_bytes=1 << 20)
    faults = (
        fault("late", service=ORDERS, delay=0.01),
        fault("gone", route=RouteName("shop"), drop=True),
    )
    lines = Lines(log.socket)
    with Echo("o") as echo, running(facts(echo.port, *faults), tmp_path, log=log) as haproxy:
        assert haproxy.ask("/orders").status == 200
        with pytest.raises(http.client.RemoteDisconnected):
            haproxy.ask("/shop")
        haproxy.wait_for(lambda: len(lines.requests) == 2)
        # two threads write: a line may overtake any other
        assert {line["Mark"] for line in lines.requests} == {"fault-delay:late", "fault-drop:gone"}
