from __future__ import annotations

from typing import Any

import pytest

from atoll.gateway.match import Outcome, Request, decide, drawn, percents, rewritten
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.route import Match, Route, Share


def route(name: str, **match: Any) -> Route:
    return Route(name=RouteName(name), match=Match(**match), shares=(Share(service=ServiceName("s")),))


def weighted(*weights: int) -> Route:
    shares = tuple(Share(service=ServiceName(f"s{at}"), weight=weight) for at, weight in enumerate(weights))
    return Route(name=RouteName("w"), shares=shares)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"hosts": ("a.test",)}, {"hosts": ("*.test",), "path": "/api/x", "exact": True}),
        ({"hosts": ("*.test",)}, {"path": "/api/x", "exact": True, "methods": ("GET",)}),
        ({"path": "/api/x", "exact": True}, {"path": "/api/x", "methods": ("GET",), "headers": {"x": "1"}}),
        ({"path": "/api"}, {"methods": ("GET",), "headers": {"x": "1"}}),
        ({"methods": ("GET",)}, {"headers": {"x": "1", "y": "2"}}),
        ({"headers": {"x": "1", "y": "2"}}, {"headers": {"x": "1"}}),
        ({}, {"name": "zz"}),
    ],
)
def test_precedence(better: dict[str, Any], worse: dict[str, Any]) -> None:
    worse = dict(worse)
    loser = route(worse.pop("name", "a0"), **worse)
    winner = route("m" if loser.name != "zz" else "a", **better)
    request = Request(host="a.test", path="/api/x", headers={"x": "1", "y": "2"})
    for table in ([winner, loser], [loser, winner]):
        assert decide(table, request).route is winner


def test_a_request_falls_through_to_the_next_best_route_that_accepts_it() -> None:
    table = [
        route("deep", path="/api/orders", methods=("POST",)),
        route("host", hosts=("h",), headers={"x": "1"}),
        route("all"),
    ]
    assert decide(table, Request(host="h", path="/api/orders")).route is table[2]
    assert decide(table, Request(host="h", path="/api/orders", method="POST")).route is table[0]
    assert decide(table, Request(host="h", path="/api/orders", headers={"x": "1"})).route is table[1]


def test_405_only_when_nothing_but_the_method_is_wrong() -> None:
    table = [
        route("a", path="/a", methods=("POST", "PUT")),
        route("b", path="/a", methods=("DELETE",), headers={"x": "1"}),
    ]
    refused = decide(table, Request(path="/a/b"))
    assert (refused.outcome, refused.allow) == (Outcome.METHOD_NOT_ALLOWED, frozenset({"POST", "PUT", "DELETE"}))
    assert decide(table[1:], Request(path="/a")).outcome is Outcome.NO_ROUTE
    assert decide(table, Request(path="/ab")).outcome is Outcome.NO_ROUTE


@pytest.mark.parametrize(
    ("host", "accepted"), [("a.test", True), ("a.b.test", False), ("test", False), ("a.testx", False), ("xtest", False)]
)
def test_a_star_stands_for_exactly_one_label(host: str, accepted: bool) -> None:
    assert (decide([route("r", hosts=("*.test",))], Request(host=host)).route is not None) == accepted


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((95, 5), (95, 5)),
        ((1, 1, 1), (34, 33, 33)),
        ((2, 1), (67, 33)),
        ((999, 1), (100, 0)),
        ((0, 7), (0, 100)),
        ((0, 0), (100, 0)),
        ((1_000_000, 1_000_000, 1), (50, 50, 0)),
    ],
)
def test_shares_in_whole_percents_by_largest_remainder(weights: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert percents(weighted(*weights).shares) == expected


def test_a_growing_canary_keeps_the_draws_it_had() -> None:
    before = {draw for draw in range(100) if drawn(weighted(95, 5), draw).service == "s1"}
    after = {draw for draw in range(100) if drawn(weighted(80, 20), draw).service == "s1"}
    assert before < after
    with pytest.raises(ValueError, match="draw 100"):
        drawn(weighted(1), 100)


@pytest.mark.parametrize(
    ("prefix", "to", "path", "expected"),
    [
        ("/api", "/", "/api", "/"),
        ("/api", "/", "/api/", "/"),
        ("/api", "/", "/api/x%20y/", "/x%20y/"),
        ("/api", "/v2", "/api", "/v2"),
        ("/api", "/v2", "/api/x", "/v2/x"),
        ("/", "/v2", "/x", "/v2/x"),
        ("/", "/v2", "/", "/v2/"),
        ("/", "/", "/x", "/x"),
        ("/api", None, "/api/x", "/api/x"),
    ],
)
def test_only_the_prefix_is_rewritten(prefix: str, to: str | None, path: str, expected: str) -> None:
    made = Route(
        name=RouteName("r"),
        match=Match(path=PathText(prefix)),
        rewrite=PathText(to) if to else None,
        shares=(Share(service=ServiceName("s")),),
    )
    assert rewritten(made, path) == expected
