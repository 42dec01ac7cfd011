"""Deadlines on a real HAProxy: made of a policy, shortened by what comes, passed on, and refused when they are over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from atoll.gateway.deadline import LEFT_HEADER, ROOM
from atoll.gateway.trace import BAGGAGE_LIMIT
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.retry import Retry
from atoll.model.route import Match, Route, Share
from atoll.model.service import Check, CheckKind, Protocol
from tests.contract.gateway.rig import (
    Answer,
    Echo,
    Running,
    free_range,
    instance,
    running,
    service,
    small_settings,
    snapshot_of,
)

ORDERS = ServiceName("orders")


class Slow(Echo):
    """Answers `?SECONDS` late."""

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        time.sleep(float(asked["path"].partition("?")[2] or 0))
        super().respond(handler, asked)


BEHIND = 50
"""Milliseconds by which HAProxy's clock may be behind ours: it looks at it once a turn of its loop."""


def now() -> int:
    return int(time.time() * 1000)


def deadline_of(answer: Answer) -> int:
    (baggage,) = answer.seen_header("baggage")
    (member,) = (each for each in baggage.split(",") if each.startswith("atoll.deadline="))
    return int(member.partition("=")[2])


@contextmanager
def gateway(tmp_path: Path, policy: Policy, **of_service: Any) -> Iterator[tuple[Running, Slow, int]]:
    """A route and a service, both for `orders`; the port is the mesh's of orders, of which nothing is said."""
    route = Route(name=RouteName("r"), match=Match(path=PathText("/r")), shares=(Share(service=ORDERS),), policy=policy)
    ports = free_range(2)
    with Slow("o") as orders:
        facts = snapshot_of([service("orders", **of_service)], [instance("orders", orders.port)], [route])
        with running(facts, tmp_path, small_settings(mesh_ports=ports, mesh_count=2)) as haproxy:
            yield haproxy, orders, ports


def test_a_timeout_becomes_a_deadline_that_the_service_is_told(tmp_path: Path) -> None:
    with gateway(tmp_path, Policy(timeout=5)) as (haproxy, _, _):
        before = now()
        answer = haproxy.ask("/r", headers=[("baggage", "user=ana,tier=gold;since=2020")])
        assert before - BEHIND + 5000 <= deadline_of(answer) <= now() + 5000
        assert answer.seen_header("baggage")[0].split(",")[1:] == ["user=ana", "tier=gold;since=2020"]
        assert answer.seen_header(LEFT_HEADER) == ["5000"]


def test_where_no_timeout_is_said_nothing_is_added(tmp_path: Path) -> None:
    with gateway(tmp_path, Policy()) as (haproxy, _, _):
        assert haproxy.ask("/r").seen_header("baggage") == []
        untouched = "user=ana, atoll.deadlines=7 , x=atoll.deadline"
        answer = haproxy.ask("/r", headers=[("baggage", untouched)])
        assert answer.seen_header("baggage") == [untouched]
        assert answer.seen_header(LEFT_HEADER) == []


def test_a_deadline_that_came_is_kept_when_it_is_earlier_and_lost_when_it_is_later(tmp_path: Path) -> None:
    with gateway(tmp_path, Policy(timeout=5)) as (haproxy, _, _):
        for written in ("atoll.deadline={}", "a=b, atoll.deadline={} ,c=d", "a=b,atoll.deadline={};p=1"):
            early, late = now() + 4000, now() + 60_000
            said = haproxy.ask("/r", headers=[("baggage", written.format(early))])
            assert deadline_of(said) == early
            assert 0 < int(said.seen_header(LEFT_HEADER)[0]) <= 4000
            assert said.seen_header("baggage")[0].count("atoll.deadline=") == 1
            assert deadline_of(haproxy.ask("/r", headers=[("baggage", written.format(late))])) <= now() + 5000


def test_what_is_no_deadline_is_none(tmp_path: Path) -> None:
    with gateway(tmp_path, Policy(timeout=5)) as (haproxy, _, _):
        for odd in ("", "soon", "1", "-1", "1e12", "99999999999999", "179529157512x", "%31795291575123"):
            before = now()
            answer = haproxy.ask("/r", headers=[("baggage", f"atoll.deadline={odd},a=b")])
            assert before - BEHIND + 5000 <= deadline_of(answer) <= now() + 5000, odd
            assert answer.seen_header("baggage")[0].endswith(",a=b")


def test_the_mesh_refuses_what_is_over_and_waits_only_for_what_is_left(tmp_path: Path) -> None:
    with gateway(tmp_path, Policy()) as (haproxy, orders, mesh):
        over = haproxy.ask("/", headers=[("baggage", f"a=b,atoll.deadline={now() - 1}")], port=mesh)
        problem = over.json()
        assert (over.status, problem["code"], problem["origin"]) == (504, "deadline-exceeded", "timeout")
        assert problem["service"] == "orders"
        assert problem["retryable"] is False
        assert orders.seen == []
        short = haproxy.ask("/?8", headers=[("baggage", f"atoll.deadline={now() + 1500}")], port=mesh)
        assert (short.status, short.json()["code"]) == (504, "upstream-timeout"), "it did not wait for the answer"
        far = haproxy.ask("/", headers=[("baggage", "atoll.deadline=9999999999999")], port=mesh)
        assert far.status == 200
        assert deadline_of(far) == 9999999999999


def test_a_call_takes_the_earliest_of_what_came_and_what_the_caller_may_wait(tmp_path: Path) -> None:
    ports = free_range(3)
    with Slow("o") as orders:
        calls = {ORDERS: Call(policy=Policy(timeout=3), mesh_index=2)}
        facts = snapshot_of(
            [service("orders"), service("web", mesh_index=1, calls=calls)], [instance("orders", orders.port)]
        )
        with running(facts, tmp_path, small_settings(mesh_ports=ports, mesh_count=3)) as haproxy:
            late = haproxy.ask("/", headers=[("baggage", f"atoll.deadline={now() + 9000}")], port=ports + 2)
            assert deadline_of(late) <= now() + 3000
            came = now() + 9000
            assert deadline_of(haproxy.ask("/", headers=[("baggage", f"atoll.deadline={came}")], port=ports)) == came


def test_several_baggage_headers_and_a_full_one_stay_as_they_are(tmp_path: Path) -> None:
    with gateway(tmp_path, Policy(timeout=5)) as (haproxy, _, _):
        two = haproxy.ask("/r", headers=[("baggage", "a=b"), ("baggage", "c=d")])
        assert two.seen_header("baggage") == ["a=b", "c=d"]
        full = "a=" + "x" * (BAGGAGE_LIMIT - ROOM)
        assert haproxy.ask("/r", headers=[("baggage", full)]).seen_header("baggage") == [full]
        over = "a=" + "x" * BAGGAGE_LIMIT
        assert [len(each) for each in haproxy.ask("/r", headers=[("baggage", over)]).seen_header("baggage")] == [28]


def test_a_try_may_take_less_than_the_whole(tmp_path: Path) -> None:
    policy = Policy(timeout=5, try_timeout=0.2, retry=Retry(attempts=1, on=("timeout",)))
    with gateway(tmp_path, policy) as (haproxy, orders, _):
        start = time.monotonic()
        assert haproxy.ask("/r?8").status == 504
        assert time.monotonic() - start >= 0.4
        assert len(orders.seen) == 2


def test_with_less_left_than_all_tries_may_take_it_is_tried_once(tmp_path: Path) -> None:
    policy = Policy(timeout=9, try_timeout=1, retry=Retry(attempts=3, on=("timeout",)))
    with gateway(tmp_path, policy) as (haproxy, orders, _):
        assert haproxy.ask("/r?8", headers=[("baggage", f"atoll.deadline={now() + 3000}")]).status == 504
        assert len(orders.seen) == 1


def test_a_call_of_grpc_is_told_the_rest_and_its_own_deadline_goes_on(tmp_path: Path) -> None:
    grpc = {"check": Check(kind=CheckKind.NONE), "protocol": Protocol.GRPC}
    with gateway(tmp_path, Policy(timeout=5), **grpc) as (haproxy, _, mesh):
        for written, left in (("90000m", 5000), ("4S", 4000), ("4500000u", 4500)):
            before = now()
            answer = haproxy.ask("/r", method="POST", headers=[("grpc-timeout", written)])
            assert before - BEHIND + left <= deadline_of(answer) <= now() + left, written
            told = answer.seen_header("grpc-timeout")[0]
            assert told == ("5000m" if left == 5000 else written)
        before = now()
        alone = haproxy.ask("/", method="POST", headers=[("grpc-timeout", "4S")], port=mesh)
        assert before - BEHIND + 4000 <= deadline_of(alone) <= now() + 4000
        odd = haproxy.ask("/", method="POST", headers=[("grpc-timeout", "soon")], port=mesh)
        assert odd.seen_header("baggage") == []
        assert odd.seen_header("grpc-timeout") == ["soon"]
        short = haproxy.ask(
            "/",
            method="POST",
            headers=[("grpc-timeout", "9S"), ("baggage", f"atoll.deadline={now() + 4000}")],
            port=mesh,
        )
        assert int(short.seen_header("grpc-timeout")[0].removesuffix("m")) <= 4000
