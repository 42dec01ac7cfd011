"""Last good answers: what is kept of a service, and given with its age when it fails, on a real HAProxy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from atoll.model.fallback import Fallback, LastGood
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.page import Page
from atoll.model.policy import Policy
from atoll.model.route import Match, Route, Share
from tests.contract.gateway.rig import Echo, Running, instance, running, service, snapshot_of

FIXED = Page(status=203, body="{}", content_type="application/json")


def route(name: str, fallback: Fallback) -> Route:
    shares, policy = (Share(service=ServiceName("shop")),), Policy(fallback=fallback)
    return Route(name=RouteName(name), match=Match(path=PathText(f"/{name}")), shares=shares, policy=policy)


class Shop(Echo):
    """Answers with a count, under headers that the test chooses; nothing when it is down."""

    def __init__(self) -> None:
        super().__init__("shop")
        self.down = False
        self.says: list[tuple[str, str]] = []

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        body = json.dumps(len(self.seen)).encode()
        handler.send_response(503 if self.down else 200)
        for name, value in self.says:
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Running]]:
    good = LastGood(max_age=100)
    routes = [
        route("kept", Fallback(last_good=good)),
        route("else", Fallback(last_good=good, static=FIXED)),
        route("short", Fallback(last_good=LastGood(max_age=1))),
    ]
    with Shop() as found:
        facts = snapshot_of([service("shop")], [instance("shop", found.port)], routes)
        with running(facts, tmp_path_factory.mktemp("shop")) as haproxy:
            yield found, haproxy


def asks(
    shop: tuple[Shop, Running], path: str, *, down: bool, says: list[tuple[str, str]] | None = None, **how: Any
) -> Any:
    shop[0].down, shop[0].says = down, says or []
    return shop[1].ask(path, **how)


def test_the_last_good_answer_is_given_with_its_age(shop: tuple[Shop, Running]) -> None:
    for _ in range(2):
        good = asks(shop, "/kept/a?q=1", down=False, says=[("cache-control", "max-age=0"), ("x-mine", "1")])
    assert (good.status, good.header("cache-control"), good.header("x-fallback")) == (200, "max-age=0", None)
    asked = len(shop[0].seen)
    stale = asks(shop, "/kept/a?q=1", down=True)
    assert (stale.status, stale.body, stale.header("x-mine")) == (200, good.body, "1")
    assert stale.header("x-fallback") == "last-good"
    assert 0 <= int(stale.header("age") or -1) <= 30
    assert stale.header("cache-control") == "no-store"
    assert len(shop[0].seen) == asked + 1  # it was tried
    again = asks(shop, "/kept/a?q=1", down=False)
    assert again.header("x-fallback") is None
    assert asks(shop, "/kept/a?q=1", down=True).body == again.body


def test_without_a_copy_a_failure_stays_what_it_is(shop: tuple[Shop, Running]) -> None:
    answer = asks(shop, "/kept/never", down=True, says=[("x-mine", "2")])
    assert (answer.status, answer.header("x-mine"), answer.header("x-fallback")) == (503, "2", None)
    assert asks(shop, "/else/never", down=True).header("x-fallback") == "static"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("cache-control", "private"),
        ("cache-control", "max-age=9, no-store"),
        ("cache-control", "no-cache"),
        ("cache-control", "must-revalidate, max-age=9"),
        ("set-cookie", "a=b"),
        ("vary", "cookie"),
        ("vary", "accept-encoding, x-user"),
        ("content-type", "text/event-stream"),
    ],
)
def test_a_personal_answer_is_never_kept(shop: tuple[Shop, Running], header: str, value: str) -> None:
    path = f"/kept/personal/{header}/{abs(hash(value))}"
    assert asks(shop, path, down=False, says=[(header, value)]).header(header) == value
    assert asks(shop, path, down=True).status == 503


@pytest.mark.parametrize("header", ["authorization", "cookie", "x-api-key"])
def test_who_says_who_they_are_neither_fills_nor_gets_a_copy(shop: tuple[Shop, Running], header: str) -> None:
    asks(shop, f"/kept/mine/{header}", down=False, headers=[(header, "me")])
    assert asks(shop, f"/kept/mine/{header}", down=True).status == 503
    asks(shop, f"/kept/all/{header}", down=False)
    assert asks(shop, f"/kept/all/{header}", down=True).status == 200
    assert asks(shop, f"/kept/all/{header}", down=True, headers=[(header, "me")]).status == 503


def test_copies_of_other_hosts_queries_methods_encodings_and_routes_are_others(shop: tuple[Shop, Running]) -> None:
    plain: dict[str, Any] = {"host": "one.example", "headers": [("accept-encoding", "gzip")]}
    asked = asks(shop, "/kept/b?x=1", down=False, says=[("vary", "Accept-Encoding, Origin")], **plain)
    assert asked.header("vary") == "Accept-Encoding, Origin"
    assert asks(shop, "/kept/b?x=1", down=True, **plain).status == 200
    assert asks(shop, "/kept/b?x=2", down=True, **plain).status == 503
    assert asks(shop, "/kept/b?x=1", down=True, **{**plain, "host": "two.example"}).status == 503
    assert asks(shop, "/kept/b?x=1", down=True, **{**plain, "headers": [("accept-encoding", "br")]}).status == 503
    assert asks(shop, "/kept/b?x=1", down=True, method="POST", body=b"", **plain).status == 503
    assert asks(shop, "/else/b?x=1", down=True, **plain).header("x-fallback") == "static"


def test_a_copy_that_is_too_old_is_not_given(shop: tuple[Shop, Running]) -> None:
    asks(shop, "/short/a", down=False)
    end = time.monotonic() + 5
    while asks(shop, "/short/a", down=True).status == 200:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert asks(shop, "/short/a", down=True).status == 503
