"""The rendered file on a real HAProxy decides as the reference does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import BadRequest
from atoll.gateway.canonical import canonical_host, canonical_path
from atoll.gateway.match import Outcome, Request, decide, drawn, rewritten
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.route import Match, Route, Share
from tests.contract.gateway.rig import Echo, instance, running, service, snapshot_of
from tests.model.gateway.tables import SERVICES, requests, route_tables


@pytest.fixture(scope="module")
def echoes() -> Iterator[dict[str, Echo]]:
    started = {name: Echo(name) for name in SERVICES}
    yield started
    for echo in started.values():
        echo.close()


@settings(max_examples=15)
@given(route_tables(), st.lists(st.tuples(requests, st.integers(0, 99)), min_size=20, max_size=20))
def test_the_service_that_answers_is_the_one_decided(
    echoes: dict[str, Echo], table: list[Route], asked: list[tuple[Request, int]]
) -> None:
    facts = snapshot_of(
        [service(name, sticky=True) for name in SERVICES],
        [instance(name, echo.port) for name, echo in echoes.items()],
        table,
    )
    with tempfile.TemporaryDirectory() as folder, running(facts, Path(folder)) as haproxy:
        for request, draw in asked:
            decision = decide(table, request)
            headers = [*request.headers.items(), ("cookie", f"ATOLL_DRAW={draw}")]
            answer = haproxy.ask(request.path, method=request.method, host=request.host, headers=headers)
            if decision.route is None:
                assert answer.status == (405 if decision.outcome is Outcome.METHOD_NOT_ALLOWED else 404)
                if request.method != "HEAD":
                    assert answer.json()["code"] == decision.outcome.value
                allow = answer.header("allow")
                assert set(allow.split(",") if allow else ()) == decision.allow
            else:
                assert answer.status == 200
                if request.method != "HEAD":
                    said = answer.json()
                    assert said["name"] == drawn(decision.route, draw).service
                    assert said["path"] == rewritten(decision.route, request.path)


PATHS = (
    "/plain/path",
    "/a%20b",
    "/%61pi",
    "/a//b///c",
    "/a/./b",
    "/a/.",
    "/a/..",
    "/a/b/../c",
    "/../../x",
    "/a/%2e%2e/b",
    "/a/%2E%2e/b/%2e",
    "/a/.%2e/b",
    "/a/..b/.c/d..",
    "/a;p=1/b",
    "/%e4%b8%ad",
    "/%C3%A9",
    "/a/..//../b/",
    "/%7Euser",
    "/.",
    "/..",
    "//",
    "/a%3Fb",
    "/%25%32%65",
    "/a/%2fb",
    "/a/%5C/b",
    "/a%00",
    "/a/..;/b",
    "/%c0%ae%c0%ae/x",
    "/a\\b",
    "/a%0d%0ab",
    "/broken%",
    "/broken%zz",
)


def test_paths_are_read_as_the_twin_says_and_the_instance_sees_that_path(
    echoes: dict[str, Echo], tmp_path: Path
) -> None:
    facts = snapshot_of(
        [service("orders")],
        [instance("orders", echoes["orders"].port)],
        [Route(name=RouteName("all"), shares=(Share(service=ServiceName("orders")),))],
    )
    with running(facts, tmp_path) as haproxy:
        for path in PATHS:
            for query in ("", "?", "?q=%41%2f..//./%2e&x=%"):
                answer = haproxy.ask(path + query)
                try:
                    expected = canonical_path(path)
                except BadRequest:
                    assert answer.status == 400, path
                    assert answer.json()["status"] == 400
                else:
                    assert answer.status == 200, path
                    assert answer.json()["path"] == expected + query, path


@pytest.mark.parametrize(
    ("host", "route"),
    [
        ("shop.test", "exact"),
        ("SHOP.Test", "exact"),
        ("shop.test:8080", "exact"),
        ("shop.test.", "exact"),
        ("shop.test.:80", "exact"),
        ("a.shop.test", "star"),
        ("a.b.shop.test", "any"),
        (".shop.test", "star"),
        ("localhost", "any"),
        ("[::1]:8080", "any"),
        ("127.0.0.1", "any"),
        ("shop.testANY", "any"),
        ("ANY", "any"),
        ("GET~n1", None),
        ('a";for=1', None),
        ("shop.test/deep", None),
        ("user@shop.test", None),
        ("shop.test?x", None),
        ("", None),
    ],
)
def test_one_canonical_host_or_400(echoes: dict[str, Echo], tmp_path: Path, host: str, route: str | None) -> None:
    table = [
        Route(
            name=RouteName(name),
            match=match,
            shares=(Share(service=ServiceName("orders")),),
            rewrite=PathText("/" + name),
        )
        for name, match in (
            ("exact", Match(hosts=("shop.test",))),  # type: ignore[arg-type]
            ("star", Match(hosts=("*.shop.test",))),  # type: ignore[arg-type]
            ("any", Match()),
        )
    ]
    facts = snapshot_of([service("orders")], [instance("orders", echoes["orders"].port)], table)
    with running(facts, tmp_path) as haproxy:
        answer = haproxy.ask("/x", host=host)
        if route is None:
            assert answer.status == 400
        else:
            assert answer.json()["path"] == f"/{route}/x"
            decision = decide(table, Request(host=canonical_host(host), path="/x"))
            assert decision.route is not None
            assert decision.route.name == route


def test_two_hosts_no_host_and_a_contradicting_absolute_url_are_refused(
    echoes: dict[str, Echo], tmp_path: Path
) -> None:
    facts = snapshot_of(
        [service("orders")],
        [instance("orders", echoes["orders"].port)],
        [Route(name=RouteName("all"), shares=(Share(service=ServiceName("orders")),))],
    )
    with running(facts, tmp_path) as haproxy:
        for head in (
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
            b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ):
            assert haproxy.raw(head).startswith(b"HTTP/1.1 400 "), head
        assert haproxy.raw(b"GET / HTTP/1.0\r\n\r\n").startswith((b"HTTP/1.0 200 ", b"HTTP/1.1 200 "))


def test_a_canary_gets_its_percents_and_a_sticky_client_stays_with_its_version(
    echoes: dict[str, Echo], tmp_path: Path
) -> None:
    stable, canary = echoes["orders"], echoes["catalog"]
    route = Route(
        name=RouteName("canary"),
        shares=(
            Share(service=ServiceName("shop"), weight=95),
            Share(service=ServiceName("shop"), version="v2", weight=5),  # type: ignore[arg-type]
        ),
    )
    facts = snapshot_of(
        [service("shop", sticky=True)],
        [instance("shop", stable.port, "a", version="v1"), instance("shop", canary.port, "b", version="v2")],
        [route],
    )
    with running(facts, tmp_path) as haproxy:
        names = [haproxy.ask("/").json()["name"] for _ in range(400)]
        assert 2 <= names.count("catalog") <= 50  # 20 expected, four sigma are 17
        first = haproxy.ask("/")
        cookies = "; ".join(value.split(";")[0] for name, value in first.headers if name == "set-cookie")
        assert "ATOLL_DRAW=" in cookies
        assert "ATOLL_SHOP=" in cookies
        seen = {haproxy.ask("/", headers=[("cookie", cookies)]).json()["name"] for _ in range(30)}
        assert seen == {first.json()["name"]}
        forced = {haproxy.ask("/", headers=[("cookie", "ATOLL_DRAW=97")]).json()["name"] for _ in range(10)}
        assert forced == {"catalog"}
