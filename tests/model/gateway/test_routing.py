"""The reference decision, the compiled map and the explanation are one and the same, over random route tables."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.gateway.explain import explain
from atoll.gateway.maps import REFUSED, Goal, compile_routes, header_sets
from atoll.gateway.match import DRAWS, Outcome, Request, decide, drawn, percents
from atoll.model.route import Route, Share
from atoll.model.snapshot import Snapshot
from tests.model.gateway.interpreter import Interpreter
from tests.model.gateway.tables import requests, route_tables

TABLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "1000"))


def goal(route: Route, share: Share) -> Goal:
    return Goal(f"b:{share.service}", share.service)


@settings(max_examples=TABLES)
@given(route_tables(), st.lists(requests, min_size=1, max_size=8))
def test_the_compiled_map_decides_as_the_reference_does(table: list[Route], asked: list[Request]) -> None:
    interpreter = Interpreter(compile_routes(table, goal), header_sets(table))
    for request in asked:
        decision = decide(table, request)
        fields = interpreter.verdict(request)
        if decision.route is None:
            refused = decision.outcome is Outcome.METHOD_NOT_ALLOWED
            assert (int(fields[0]) == REFUSED) == refused
        else:
            assert fields[1] == decision.route.name


@settings(max_examples=200)
@given(route_tables(), requests)
def test_an_explanation_agrees_with_the_decision_and_has_a_reason_for_every_other_route(
    table: list[Route], request: Request
) -> None:
    snapshot = Snapshot(routes={route.name: route for route in table})
    decision = decide(table, request)
    explained = explain(snapshot, request.method, f"http://{request.host}{request.path}", request.headers)
    assert explained.route == (decision.route.name if decision.route else None)
    assert explained.allow == tuple(sorted(decision.allow))
    assert len(explained.others) == len(table) - (decision.route is not None)
    assert all(each.reasons for each in explained.others)


@given(route_tables(max_size=4))
def test_the_lots_of_a_weighted_route_are_its_percents(table: list[Route]) -> None:
    entries = dict(compile_routes(table, goal))
    for route in table:
        lots = [drawn(route, draw).service for draw in range(DRAWS)]
        assert tuple(lots.count(share.service) for share in route.shares) == percents(route.shares)
        if len(route.shares) > 1:
            assert [entries[f"{route.name}~{draw}"].split("|")[3] for draw in range(DRAWS)] == lots
