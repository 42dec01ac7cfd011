from __future__ import annotations

from pathlib import Path

import pytest

from atoll.model.names import HostPattern, PathText, RouteName, ServiceName, Token
from atoll.model.route import Match, Route, Share
from atoll.model.service import Service, State
from tests.unit.cli.conftest import instance
from tests.unit.cli.fake_api import Cli, FakeApi


def route(name: str, **more: object) -> Route:
    return Route(name=RouteName(name), match=Match(**more), shares=(Share(service=ServiceName("orders")),))  # type: ignore[arg-type]


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
        "writes path: /api/orders is not exactly /api; method: GET is not POST",
        "web accepts this too, but canary has the longer path",
        "admin host: shop.test is not admin.test",
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
