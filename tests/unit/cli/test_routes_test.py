from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.cli.explanation import explain, normalised, request_of
from atoll.gateway.match import Outcome, Request, decide
from atoll.model.names import HeaderName, HeaderValue, HostPattern, PathText, RouteName, ServiceName, Token
from atoll.model.route import Match, Route, Share
from atoll.model.service import Service, State
from atoll.model.snapshot import Snapshot
from tests.unit.cli.conftest import instance
from tests.unit.cli.fake_api import Cli, FakeApi

HOSTS = ("a.test", "b.test", "x.a.test", "*.a.test")
PATHS = ("/", "/api", "/api/orders", "/apis")
METHODS = ("GET", "POST")


def route(name: str, **more: object) -> Route:
    return Route(name=RouteName(name), match=Match(**more), shares=(Share(service=ServiceName("orders")),))  # type: ignore[arg-type]


tables = st.lists(
    st.builds(
        lambda number, hosts, path, exact, methods, header: route(
            f"r{number}",
            hosts=tuple(HostPattern(host) for host in hosts),
            path=PathText(path),
            exact=exact,
            methods=tuple(methods),
            headers={HeaderName("x-v"): HeaderValue(header)} if header else {},
        ),
        st.integers(0, 99),
        st.lists(st.sampled_from(HOSTS), max_size=2, unique=True),
        st.sampled_from(PATHS),
        st.booleans(),
        st.lists(st.sampled_from(METHODS), max_size=1),
        st.sampled_from(["", "1", "2"]),
    ),
    max_size=8,
    unique_by=lambda one: one.name,
)
requests = st.builds(
    Request,
    host=st.sampled_from(["a.test", "b.test", "x.a.test", "c.test"]),
    path=st.sampled_from(["/", "/api", "/api/", "/api/orders/1", "/apis", "/other"]),
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    headers=st.sampled_from([{}, {"x-v": "1"}, {"x-v": "2"}]),
)


@given(tables, requests)
def test_the_explanation_agrees_with_the_decision_and_leaves_no_route_out(table: list[Route], request: Request) -> None:
    facts = Snapshot(routes={one.name: one for one in table})
    decision, found = decide(table, request), explain(facts, request)
    assert found.route == (decision.route.name if decision.route else None)
    assert (
        found.status == {Outcome.ROUTED: None, Outcome.NO_ROUTE: 404, Outcome.METHOD_NOT_ALLOWED: 405}[decision.outcome]
    )
    named = [other.route for other in found.others] + ([found.route] if found.route else [])
    assert sorted(named) == sorted(facts.routes)
    for other in found.others:
        alone = decide([facts.routes[RouteName(other.route)]], request)
        assert other.reason.startswith("takes it too, but ") == (alone.outcome is Outcome.ROUTED)


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("/a", "/a"),
        ("/a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/../../a", "/a"),
        ("/%61pi/%7Euser/%20", "/api/~user/%20"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/.", "/a/"),
        ("/a%2Fb", None),
        ("/a%00", None),
        ("/a%", None),
        ("/a\\b", None),
        ("/a/..;/b", None),
    ],
)
def test_a_path_is_seen_as_the_gateway_sees_it(written: str, seen: str | None) -> None:
    assert normalised(written) == seen


def test_host_comes_from_the_header_then_the_url() -> None:
    for url, headers, host in (
        ("http://Shop.Test:8080/x?q=1", {}, "shop.test"),
        ("http://shop.test./x", {"Host": "Other.test:80"}, "other.test"),
        ("/x", {"host": "a.test"}, "a.test"),
        ("/x", {}, "127.0.0.1"),
    ):
        seen = request_of("get", url, headers, host="127.0.0.1")
        assert seen is not None
        assert (seen.host, seen.path, seen.method) == (host, "/x", "GET")


@pytest.fixture
def routed(api: FakeApi) -> FakeApi:
    orders = ServiceName("orders")
    shares = (Share(service=orders, weight=95), Share(service=orders, version=Token("v2"), weight=5))
    api.put(
        Service(name=orders),
        instance("orders", "orders-1", 9001),
        instance("orders", "orders-2", 9002, state=State.DRAINING),
        Route(name=RouteName("canary"), match=Match(path=PathText("/api")), shares=shares, rewrite=PathText("/")),
        route("web"),
        route("admin", hosts=(HostPattern("admin.test"),)),
        route("writes", path=PathText("/api"), methods=("POST",), exact=True),
    )
    return api


def test_it_says_who_gets_the_request_and_why_the_others_do_not(cli: Cli, routed: FakeApi) -> None:
    result = cli("routes", "test", "get", "http://shop.test/api/orders")
    assert (result.code, result.err) == (0, "")
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert lines == [
        "request GET /api/orders (host shop.test)",
        "route canary",
        "sent as /orders",
        "SHARE UPSTREAM INSTANCE ENDPOINT STATE",
        "95% orders@-v2 orders-1 127.0.0.1:9001 passing",
        "95% orders@-v2 orders-2 127.0.0.1:9002 draining takes nothing",
        "5% orders@v2 none",
        "",
        "OTHER ROUTE WHY NOT",
        "writes path /api/orders is not /api",
        "web takes it too, but canary has the longer path",
        "admin host shop.test is not admin.test",
    ]
    found = cli("routes", "test", "GET", "/api/orders", "--json").json
    assert found["route"] == "canary"
    assert {other["route"] for other in found["others"]} == {"web", "writes", "admin"}


def test_a_request_nobody_takes_is_exit_1_with_the_status(cli: Cli, api: FakeApi) -> None:
    api.put(route("api", path=PathText("/api"), methods=("POST",)))
    for method, url, status in (("GET", "/x", 404), ("GET", "/api", 405), ("GET", "/a%2fb", 400)):
        result = cli("routes", "test", method, url, "--json")
        assert (result.code, result.json["status"]) == (1, status)
    assert "it would take POST" in cli("routes", "test", "GET", "/api").out


def test_without_a_platform_the_file_is_asked(cli: Cli, folder: Path) -> None:
    (folder / "atoll.yaml").write_text(
        "services:\n  orders: sleep 60\ngateway:\n  routes:\n    - {name: api, match: {path_prefix: /api}, service: orders}\n"
    )
    assert cli("routes", "test", "GET", "/api").code == 1
    result = cli("-f", "atoll.yaml", "routes", "test", "GET", "/api/x", "--json")
    assert (result.code, result.json["route"]) == (0, "api")
    assert "no platform runs" in result.err


@pytest.mark.parametrize(
    "line",
    [
        ("GET", "nonsense"),
        ("GET", "ftp://x/"),
        ("G T", "/"),
        ("GET\r\n", "/"),
        ("GET", "http://[::1/"),
        ("GET", "/", "-H", "a\nb: c"),
    ],
)
def test_what_is_no_request_is_refused(cli: Cli, api: FakeApi, line: tuple[str, ...]) -> None:
    result = cli("routes", "test", *line)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
