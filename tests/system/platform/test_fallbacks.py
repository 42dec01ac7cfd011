"""Fallbacks on a running platform: all instances of a service are killed, something is given in their place, they return."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.system.platform.stage import Answer, Platform, ask, closing, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: shop
services:
  orders:
    command: python service.py
    healthcheck: {http: /healthz, interval: 200ms, timeout: 1s}
    fallback: {static: {status: 203, body: {orders: []}, headers: {x-kind: empty}}}
  best: {command: python service.py, healthcheck: {http: /healthz}}
gateway:
  routes:
    - {match: {path_prefix: /orders}, service: orders}
    - {match: {path_prefix: /like}, service: orders, fallback: {last_good: 1m, service: {service: best, path: "/top/{2}"}}}
    - {match: {path_prefix: /bare}, service: orders, fallback: false, errors: {503: {body: "<h1>soon</h1>"}}}
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[Platform]:
    # usually a HAProxy that has just started is left alone for some seconds
    with closing(Platform.of(PROJECT, ATOLL_GATEWAY_RELOAD_AFTER_START="0.2")) as platform:
        platform.up()
        until(lambda: platform.gateway()["reloads"] > 0, "fixed words and the cache are loaded")
        yield platform


def given(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.headers.get("x-fallback")


def test_something_is_given_while_all_instances_are_gone_and_no_longer_when_they_return(shop: Platform) -> None:
    gateway = shop.gateway_port
    mesh = shop.port_of("orders")
    for path in ("/orders/x", "/like/kept", "/bare/x"):
        assert given(ask(gateway, path)) == (200, None)
    assert shop("stop", "orders").code == 0
    until(lambda: given(ask(gateway, "/orders/x")) == (203, "static"), "the fixed answer is given")
    answer = ask(gateway, "/orders/x")
    assert (answer.json, answer.headers["x-kind"]) == ({"orders": []}, "empty")
    assert given(ask(mesh, "/any")) == (203, "static")
    assert given(ask(gateway, "/like/kept")) == (200, "last-good")
    other = ask(gateway, "/like/other")
    assert given(other) == (200, "service")
    assert other.instance.startswith("best")
    bare = ask(gateway, "/bare/x")
    assert (given(bare), bare.body) == ((503, None), b"<h1>soon</h1>")
    assert shop("start", "orders").code == 0
    until(lambda: given(ask(gateway, "/orders/x")) == (200, None), "it is back")
    assert given(ask(mesh, "/any")) == (200, None)


def test_a_killed_instance_is_never_missed(shop: Platform) -> None:
    until(lambda: given(ask(shop.gateway_port, "/orders/x")) == (200, None), "it is there")
    (pid,) = until(lambda: list(shop.pids("orders").values()), "its pid is known")
    psutil.Process(pid).kill()
    statuses = [given(ask(shop.gateway_port, "/orders/x")) for _ in range(50)]
    assert set(statuses) <= {(203, "static"), (200, None)}
    until(lambda: given(ask(shop.gateway_port, "/orders/x")) == (200, None), "it is back")


def test_what_is_said_is_explained(shop: Platform) -> None:
    told = shop("explain", "GET", "/like/x").out
    assert "fallback" in told
    assert "best" in told
