"""Which numbers a request is held to: the service's own, beside what its route or caller says; and what is absurd."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.gateway.bound import Bound, Does
from atoll.gateway.limits import bits, limit_numbers, limit_reports
from atoll.model import effective
from atoll.model.bulkhead import Priority, Queue, concurrency_problem, room_problems
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.report import LimitReport
from atoll.model.route import Match, Route, Share
from atoll.model.service import Service

ORDERS = ServiceName("orders")


def callee(**values: Any) -> Service:
    return Service(name=ORDERS, **values)


def of_call(service: Service, **policy: Any) -> tuple[int, ...]:
    web = Service(name=ServiceName("web"), calls={ORDERS: Call(policy=Policy(**policy))})
    return limit_numbers(Bound("web>orders", ORDERS, effective.of_call(web, service), service))


def of_route(service: Service, defaults: Policy, **policy: Any) -> tuple[int, ...]:
    shares = (Share(service=ORDERS),)
    route = Route(
        name=RouteName("shop"),
        match=Match(path=PathText("/")),
        shares=shares,
        policy=Policy(**policy),
        defaults=defaults,
    )
    return limit_numbers(Bound("route:shop", ORDERS, effective.of_route(route, service), service))


def of_service(service: Service) -> tuple[int, ...]:
    return limit_numbers(Bound("orders", ORDERS, effective.of_service(service), service))


def test_who_says_nothing_is_not_limited() -> None:
    assert of_service(callee())[:3] == of_call(callee(), timeout=2.0, priority=Priority.HIGH)[:3] == (0, 0, 0)
    assert bits(Bound("orders", ORDERS, effective.of_service(callee()), callee())) == Does(0)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (of_service(callee(policy=Policy(max_concurrency=9))), (0, 9, 0, 100, 0)),
        (of_call(callee(policy=Policy(max_concurrency=9))), (0, 9, 0, 100, 0)),
        (of_call(callee(policy=Policy(max_concurrency=9)), max_concurrency=2), (2, 9, 0, 100, 0)),
        (of_call(callee(), max_concurrency=2), (2, 0, 0, 100, 0)),
        (of_route(callee(), Policy(max_concurrency=7)), (7, 0, 0, 100, 0)),
        (of_route(callee(policy=Policy(max_concurrency=9)), Policy(max_concurrency=7)), (0, 9, 0, 100, 0)),
        (of_route(callee(policy=Policy(max_concurrency=9)), Policy(), max_concurrency=3), (3, 9, 0, 100, 0)),
        (of_service(callee(instance_concurrency=4)), (0, 0, 4, 100, 0)),
        (of_call(callee(instance_concurrency=4, queue=Queue(size=9)), priority=Priority.LOW), (0, 0, 4, 4, 1)),
        (of_call(callee(instance_concurrency=4, queue=Queue(size=9)), priority=Priority.HIGH), (0, 0, 4, 9, -1)),
    ],
)
def test_a_line_has_every_limit_that_holds(numbers: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert numbers == expected


@pytest.mark.parametrize("number", [0, -1, 1_000_001])
def test_an_absurd_limit_is_refused(number: int) -> None:
    assert concurrency_problem(number)
    assert [path for path, _ in room_problems(number, None)] == [("instance_concurrency",)]


@pytest.mark.parametrize(
    ("each", "queue", "path"),
    [
        (None, Queue(), ("queue",)),
        (1, Queue(size=-1), ("queue", "size")),
        (1, Queue(size=100_001), ("queue", "size")),
        (1, Queue(timeout=0), ("queue", "timeout")),
        (1, Queue(timeout=61), ("queue", "timeout")),
        (1, Queue(timeout=float("nan")), ("queue", "timeout")),
    ],
)
def test_an_absurd_queue_is_refused_with_its_path(each: int | None, queue: Queue, path: tuple[str, ...]) -> None:
    assert [at for at, _ in room_problems(each, queue)] == [path]


def test_what_haproxy_counted_is_told_by_name_and_what_it_cannot_mean_is_not() -> None:
    head = "# table: t, type: string, size:1, used:1\n"
    row = "0x1: key={} use=1 exp=9 shard=0 conn_cur={} gpc0={} gpc0_rate(10000)=2\n"
    counts = head + row.format("web>orders", 3, 7) + row.format("idle", 0, 0) + "\n"
    queues = head + row.format("http-1", 2, 0) + row.format("gone", 2, 0)
    assert list(limit_reports({"http-1": "orders@v2"}, counts, queues)) == [
        LimitReport(who="web>orders", under_way=3, refused=7),
        LimitReport(who="orders@v2", queue=True, under_way=2),
    ]
