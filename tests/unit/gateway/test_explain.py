from __future__ import annotations

import pytest

from atoll.errors import BadRequest
from atoll.gateway.explain import explain
from atoll.model.names import PathText, RouteName, ServiceName, Token
from atoll.model.route import Match, Route, Share
from atoll.model.service import State
from tests.unit.gateway.facts import instance, route, service, snapshot

FACTS = snapshot(
    [service("web"), service("orders")],
    [
        instance("orders", "o1", 9001, version="v1"),
        instance("orders", "o2", 9002, version="v2", weight=50),
        instance("orders", "o3", 9003, version="v1", state=State.DRAINING),
    ],
    [
        route("web", "web"),
        Route(
            name=RouteName("orders"),
            match=Match(path=PathText("/api/orders"), methods=("GET", "POST")),
            rewrite=PathText("/"),
            shares=(
                Share(service=ServiceName("orders"), weight=95),
                Share(service=ServiceName("orders"), version=Token("v2"), weight=5),
            ),
        ),
        route("beta", "web", path="/api/orders", headers={"x-beta": "1"}, hosts=("beta.test",)),
        route("exact", "web", path="/api", exact=True),
    ],
)


def test_it_names_the_route_the_path_that_is_sent_and_who_could_get_it() -> None:
    said = explain(FACTS, "get", "http://user@Shop.test:8080/api/orders/7?x=%2f")
    assert (said.status, said.route, said.sent_path, said.host) == (200, "orders", "/7?x=%2f", "shop.test")
    assert [(part.upstream, part.percent) for part in said.parts] == [("orders@-v2", 95), ("orders@v2", 5)]
    assert [[(each.endpoint, each.weight) for each in part.candidates] for part in said.parts] == [
        [("127.0.0.1:9001", 100), ("127.0.0.1:9003", 0)],
        [("127.0.0.1:9002", 50)],
    ]


def test_it_says_of_every_other_route_why_not() -> None:
    said = explain(FACTS, "POST", "/api/orders/7", {"X-Beta": "2"})
    assert {each.route: each.reasons for each in said.others} == {
        "beta": ("host: localhost is not beta.test", "header: x-beta is '2', not 1"),
        "exact": ("path: /api/orders/7 is not exactly /api",),
        "web": ("accepts this too, but orders has the longer path",),
    }


def test_405_names_the_methods_and_503_an_empty_service() -> None:
    table = snapshot([service("a")], [], [route("r", "a", path="/a", methods=("POST",)), route("e", "a", path="/e")])
    assert (explain(table, "GET", "/a").status, explain(table, "GET", "/a").allow) == (405, ("POST",))
    assert explain(table, "GET", "/e").status == 503
    assert explain(table, "GET", "/zzz").status == 404


@pytest.mark.parametrize("url", ["/a%2fb", "/a\\b", "/a%", "/a/..;/b", "http://a~b/x"])
def test_what_the_gateway_answers_400_to_is_explained_as_that(url: str) -> None:
    explained = explain(FACTS, "GET", url)
    assert explained.status == 400
    assert explained.refusal


@pytest.mark.parametrize(
    ("method", "url"), [("G T", "/"), ("GET", "ftp://x/"), ("GET", "http://["), ("", "/"), ("GET", "shop"), ("GET", "")]
)
def test_what_is_no_request_is_refused(method: str, url: str) -> None:
    with pytest.raises(BadRequest):
        explain(FACTS, method, url)
