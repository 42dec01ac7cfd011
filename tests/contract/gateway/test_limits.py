"""Limits of concurrency on a real HAProxy: exact, at once, for the right callers; queues that are bounded and ordered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atoll.gateway.limits import COUNTS, QUEUES, limit_reports
from atoll.gateway.request_log import RequestLog
from atoll.model.breaker import Breaker
from atoll.model.bulkhead import Priority, Queue
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.report import LimitReport
from atoll.model.route import Match, Route, Share
from tests.contract.gateway.lines import Lines
from tests.contract.gateway.rig import (
    Answer,
    Echo,
    Running,
    free_ports,
    free_range,
    instance,
    running,
    service,
    small_settings,
    snapshot_of,
)

ORDERS = ServiceName("orders")


class Held(Echo):
    """Answers when it is let go."""

    def __init__(self, name: str) -> None:
        self.go = threading.Event()
        self.most = self.now = 0
        self._lock = threading.Lock()
        super().__init__(name)

    def respond(self, handler: Any, asked: dict[str, Any]) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.go.wait(20)
        with self._lock:
            self.now -= 1
        super().respond(handler, asked)

    def close(self) -> None:
        self.go.set()
        super().close()


@pytest.fixture
def held() -> Iterator[Held]:
    with Held("o") as echo:
        yield echo


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as executor:
        yield executor


def route(name: str, **policy: Any) -> Route:
    return Route(
        name=RouteName(name),
        match=Match(path=PathText(f"/{name}")),
        shares=(Share(service=ORDERS),),
        policy=Policy(**policy),
    )


def facts(port: int, *routes: Route, **values: Any) -> Any:
    return snapshot_of([service("orders", **values)], [instance("orders", port)], routes or (route("orders"),))


def told(haproxy: Running) -> list[LimitReport]:
    upstreams = {backend.name: backend.upstream for backend in haproxy.config.backends}
    tables = (haproxy.command(f"show table {name}") for name in (COUNTS, QUEUES))
    return list(limit_reports(upstreams, *tables))


def under_way(haproxy: Running) -> dict[str, int]:
    """Requests that HAProxy counts, by key; of queues as `queue:SECTION`."""
    return {("queue:" if each.queue else "") + each.who: each.under_way for each in told(haproxy) if each.under_way}


def refused(haproxy: Running) -> dict[str, int]:
    return {each.who: each.refused for each in told(haproxy) if each.refused}


def send(pool: ThreadPoolExecutor, haproxy: Running, count: int, path: str = "/orders") -> list[Future[Answer]]:
    return [pool.submit(haproxy.ask, path) for _ in range(count)]


def test_no_request_more_than_the_service_takes_is_let_through_and_the_others_are_told_at_once(
    tmp_path: Path, held: Held, pool: ThreadPoolExecutor
) -> None:
    with running(facts(held.port, policy=Policy(max_concurrency=3)), tmp_path) as haproxy:
        first = send(pool, haproxy, 3)
        haproxy.wait_for(lambda: held.now == 3)
        answers = [one.result() for one in send(pool, haproxy, 30)]
        assert held.now == 3, "told while the others are still under way"
        assert Counter(one.status for one in answers) == {503: 30}
        problem = answers[0].json()
        assert (problem["code"], problem["origin"], problem["retryable"]) == ("too-busy", "limit", True)
        assert problem["detail"].startswith("3 requests are under way")
        waits = [int(one.header("retry-after") or 0) for one in answers]
        assert 1 == min(waits) < max(waits) <= 12
        assert refused(haproxy) == {"orders": 30}
        held.go.set()
        assert [one.result().status for one in first] == [200] * 3
        # who has its answer is counted until HAProxy has cleared up behind it
        haproxy.wait_for(lambda: under_way(haproxy) == {})
        assert haproxy.ask("/orders").status == 200
        assert held.most == 3
        haproxy.wait_for(lambda: under_way(haproxy) == {})


def test_a_callees_limit_is_for_all_callers_together_a_calls_and_a_routes_for_themselves_beside_it(
    tmp_path: Path, held: Held, pool: ThreadPoolExecutor
) -> None:
    services = [
        service("orders", policy=Policy(max_concurrency=4)),
        service("web", mesh_index=1, calls={ORDERS: Call(policy=Policy(max_concurrency=1), mesh_index=2)}),
    ]
    ports = free_range(3)
    settings = small_settings(mesh_ports=ports, mesh_count=3)
    snapshot = snapshot_of(services, [instance("orders", held.port)], [route("shop", max_concurrency=2)])
    with running(snapshot, tmp_path, settings) as haproxy:
        under = [pool.submit(haproxy.ask, "/", port=ports + 2)]
        haproxy.wait_for(lambda: held.now == 1)
        assert haproxy.ask("/", port=ports + 2).json()["detail"].startswith("1 ")
        under += send(pool, haproxy, 2, "/shop")
        haproxy.wait_for(lambda: held.now == 3)
        assert haproxy.ask("/shop").json()["detail"].startswith("2 ")
        under.append(pool.submit(haproxy.ask, "/", port=ports))
        haproxy.wait_for(lambda: held.now == 4)
        assert haproxy.ask("/", port=ports).json()["detail"].startswith("4 ")
        haproxy.wait_for(lambda: under_way(haproxy) == {"orders": 4, "web>orders": 1, "route:shop": 2})
        held.go.set()
        assert [one.result().status for one in under] == [200] * 4


def test_an_instance_gets_no_more_than_it_takes_the_rest_waits_and_what_the_queue_cannot_hold_is_told_at_once(
    tmp_path: Path, held: Held, pool: ThreadPoolExecutor
) -> None:
    room = {"instance_concurrency": 2, "queue": Queue(size=3, timeout=20)}
    with running(facts(held.port, **room), tmp_path) as haproxy:
        first = send(pool, haproxy, 5)
        haproxy.wait_for(lambda: under_way(haproxy) == {"queue:orders": 5})
        answers = [one.result() for one in send(pool, haproxy, 10)]
        assert {(one.status, one.json()["code"], one.json()["passing"]) for one in answers} == {(503, "queue-full", 1)}
        assert held.now == 2
        held.go.set()
        assert [one.result().status for one in first] == [200] * 5
        assert held.most == 2


def test_who_waits_too_long_is_told_that_nobody_had_room(tmp_path: Path, held: Held, pool: ThreadPoolExecutor) -> None:
    room = {"instance_concurrency": 1, "queue": Queue(timeout=0.2)}
    (closed,) = free_ports(1)
    services = [service("orders", **room), service("gone", mesh_index=1), service("empty", mesh_index=2)]
    instances = [instance("orders", held.port), instance("gone", closed)]
    with running(snapshot_of(services, instances, [route("orders")]), tmp_path) as haproxy:
        first = send(pool, haproxy, 1)
        haproxy.wait_for(lambda: held.now == 1)
        began = time.monotonic()
        problem = haproxy.ask("/orders").json()
        assert time.monotonic() - began >= 0.2
        assert (problem["code"], problem["origin"], problem["retryable"]) == ("queue-timeout", "limit", True)
        mesh = haproxy.settings.mesh_port
        assert haproxy.ask("/", host="gone", port=mesh).json()["code"] == "upstream-unreachable"
        assert haproxy.ask("/", host="empty", port=mesh).json()["code"] == "no-instance"
        held.go.set()
        assert first[0].result().status == 200


def test_high_priority_leaves_the_queue_first_and_low_priority_is_refused_when_it_is_half_full(
    tmp_path: Path, held: Held, pool: ThreadPoolExecutor
) -> None:
    room = {"instance_concurrency": 1, "queue": Queue(size=4, timeout=20)}
    routes = [route(name, priority=Priority(name)) for name in ("high", "normal", "low")]
    with running(facts(held.port, *routes, **room), tmp_path) as haproxy:
        waiting = []
        for number, name in enumerate(("normal", "low", "normal", "high"), start=1):
            waiting += send(pool, haproxy, 1, f"/{name}")
            haproxy.wait_for(lambda number=number: under_way(haproxy) == {"queue:orders": number})
        assert haproxy.ask("/low").json()["code"] == "queue-full"
        waiting += send(pool, haproxy, 1, "/normal")
        haproxy.wait_for(lambda: under_way(haproxy) == {"queue:orders": 5})
        assert haproxy.ask("/high").json()["code"] == "queue-full"
        held.go.set()
        assert [one.result().status for one in waiting] == [200] * 5
        assert [asked["path"] for asked in held.seen] == ["/normal", "/high", "/normal", "/normal", "/low"]


def test_refusals_open_no_breaker_and_are_marked_in_the_request_log(
    tmp_path: Path, held: Held, pool: ThreadPoolExecutor
) -> None:
    log = RequestLog(socket=tmp_path / "log.sock", ring_bytes=1 << 20)
    lines = Lines(log.socket)
    policy = Policy(max_concurrency=1, circuit_breaker=Breaker(enabled=True, min_requests=5))
    with running(facts(held.port, policy=policy), tmp_path, log=log) as haproxy:
        first = send(pool, haproxy, 1)
        haproxy.wait_for(lambda: held.now == 1)
        assert {haproxy.ask("/orders").json()["code"] for _ in range(10)} == {"too-busy"}
        held.go.set()
        assert first[0].result().status == 200
        haproxy.wait_for(lambda: under_way(haproxy) == {})
        assert haproxy.ask("/orders").status == 200
        haproxy.wait_for(lambda: len(lines.requests) == 12)
        assert Counter(line["Mark"] for line in lines.requests) == {"busy": 10, "-": 2}


def test_a_service_without_instances_says_so_whatever_its_limits(tmp_path: Path) -> None:
    snapshot = snapshot_of([service("orders", instance_concurrency=1, queue=Queue(size=0))], [], [route("orders")])
    with running(snapshot, tmp_path) as haproxy:
        assert haproxy.ask("/orders").json()["code"] == "no-instance"
