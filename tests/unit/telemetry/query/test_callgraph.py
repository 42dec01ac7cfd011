from __future__ import annotations

from collections.abc import Mapping, Sequence

from atoll.model.traffic import Figures, ServiceMap
from atoll.telemetry.query.callgraph import Call, put_together
from atoll.telemetry.query.window import Window


def call(caller: str, callee: str, requests: int, *, errors: int = 0, kind: str = "service") -> Call:
    return Call(caller, callee, Figures(requests=requests, errors=errors, rps=requests / 10, mean_ms=requests), kind)


def together(
    logged: Sequence[Call] = (),
    traced: Sequence[Call] = (),
    peers: Sequence[Call] = (),
    asked: Mapping[str, Figures] | None = None,
) -> ServiceMap:
    return put_together(Window(0, 10**10), logged, traced, peers, asked or {})


def edges(found: ServiceMap) -> dict[tuple[str, str], int]:
    return {(edge.caller, edge.callee): edge.figures.requests for edge in found.edges}


def test_calls_of_nobody_are_those_that_spans_tell_of_and_only_the_rest_is_unknown() -> None:
    logged = [call("", "orders", 100, errors=10), call("web", "orders", 50)]
    traced = [call("web", "orders", 49), call("mailer", "orders", 70)]
    found = together(logged, traced)
    assert edges(found) == {("web", "orders"): 50, ("mailer", "orders"): 70, ("unknown", "orders"): 30}
    assert next(edge.figures.errors for edge in found.edges if edge.caller == "unknown") == 3
    assert edges(together(logged[:1], [call("mailer", "orders", 120)])) == {("mailer", "orders"): 120}


def test_errors_that_only_spans_know_of_are_errors_of_the_edge_and_the_service() -> None:
    logged = [call("web", "pay", 50, errors=1), call("gateway", "pay", 10, errors=2)]
    found = together(logged, [call("web", "pay", 49, errors=9)], asked={"pay": Figures(requests=60, errors=3)})
    assert {edge.caller: edge.figures.errors for edge in found.edges} == {"web": 9, "gateway": 2}
    (pay,) = [node.figures for node in found.nodes if node.name == "pay"]
    assert (pay.errors, pay.requests, pay.error_share) == (11, 60, round(11 / 60, 6))
    many = together([call("web", "pay", 5)], [call("web", "pay", 7, errors=7)])
    assert [edge.figures.errors for edge in many.edges] == [5]


def test_what_came_through_the_gateway_explains_nothing_on_the_mesh() -> None:
    found = together([call("", "orders", 100)], [call("gateway", "orders", 100)])
    assert edges(found) == {("gateway", "orders"): 100, ("unknown", "orders"): 100}


def test_a_database_adds_up_what_its_callers_ask() -> None:
    peers = [call("a", "redis", 10, kind="database"), call("b", "redis", 30, errors=4, kind="database")]
    (redis,) = [node for node in together(peers=peers).nodes if node.name == "redis"]
    assert (redis.kind, redis.figures.requests, redis.figures.errors, redis.figures.rps) == ("database", 40, 4, 4)
    assert (redis.figures.mean_ms, redis.figures.error_share) == (25, 0.1)


def test_a_peer_that_sends_spans_itself_is_a_service_and_no_peer() -> None:
    found = together(peers=[call("a", "billing", 10, kind="external")], asked={"billing": Figures(requests=10)})
    assert edges(found) == {}
    assert [(node.name, node.kind) for node in found.nodes] == [("billing", "service")]


def test_everybody_on_an_edge_is_a_node() -> None:
    assert [(node.name, node.kind) for node in together([call("gateway", "web", 1)]).nodes] == [
        ("gateway", "gateway"),
        ("web", "service"),
    ]
