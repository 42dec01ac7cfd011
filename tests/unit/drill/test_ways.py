"""Where a drill's requests go: the ways to a service, what is asked on them, who is meant by a name."""

from __future__ import annotations

import pytest

from atoll.drill.aim import Place, candidates, mesh_aim
from atoll.drill.scene import beyond_loopback, place_of, scene_of
from atoll.drill.ways import ways_to
from atoll.errors import InvalidValue, NotFound
from atoll.model.answers import NodeView
from atoll.model.names import HostPattern, InstanceId, NodeName, PathText, RouteName, ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.report import ChildReport, GatewayReport, NodeReport, Phase
from atoll.model.route import Match, Route, Share
from atoll.model.service import Check, CheckKind, Condition, Instance, Protocol, Run, Service
from atoll.model.snapshot import Snapshot

GATEWAY, MESH = Place("127.0.0.1", 8080), Place("127.0.0.1", 15001)
HTTP = Check(kind=CheckKind.HTTP, path="/healthz")


def service(name: str, **more: object) -> Service:
    given: dict[str, object] = {"check": HTTP, "run": Run(command=("x",)), **more}
    return Service(name=ServiceName(name), **given)  # type: ignore[arg-type]


def route(name: str, to: str, path: str = "/", **more: object) -> Route:
    return Route(
        name=RouteName(name),
        match=Match(path=PathText(path), **more),  # type: ignore[arg-type]
        shares=(Share(service=ServiceName(to)),),
    )


def facts(*services: Service, routes: tuple[Route, ...] = (), instances: tuple[tuple[str, str], ...] = ()) -> Snapshot:
    found = Snapshot(1)
    found.services = {one.name: one for one in services}
    found.routes = {one.name: one for one in routes}
    found.instances = {
        (ServiceName(name), InstanceId(one)): Instance(service=ServiceName(name), id=InstanceId(one), host="127.0.0.1", port=9)
        for name, one in instances
    }  # fmt: skip
    return found


def node(*children: tuple[str, str, int | None], address: str = "127.0.0.1:8080") -> NodeView:
    told = tuple(
        ChildReport(service=ServiceName(name), instance=InstanceId(one), phase=Phase.RUNNING, pid=pid)
        for name, one, pid in children
    )
    gateway = GatewayReport(address=address, mesh="127.0.0.1:15001", mesh_ports=15100)
    return NodeView(report=NodeReport(node=NodeName("local"), children=told, gateway=gateway), age=0.1)


def test_a_route_is_asked_at_its_own_path_then_at_the_path_of_the_check_then_comes_the_mesh() -> None:
    aims = list(candidates(service("web"), [route("r", "web", "/api"), route("o", "other")], GATEWAY, MESH))
    assert [(aim.way, aim.path, aim.host) for aim in aims] == [
        ("route:r", "/api", "127.0.0.1:8080"),
        ("route:r", "/api/healthz", "127.0.0.1:8080"),
        ("mesh", "/healthz", "web"),
    ]
    assert all(aim.method == "GET" for aim in aims)


def test_a_route_that_takes_no_get_or_shares_its_traffic_is_not_asked() -> None:
    shared = Route(name=RouteName("s"), shares=(Share(service=ServiceName("web")), Share(service=ServiceName("other"))))
    routes = [route("p", "web", methods=("POST",)), shared]
    assert [aim.way for aim in candidates(service("web"), routes, GATEWAY, MESH)] == ["mesh"]


def test_hosts_and_headers_of_a_route_are_sent_along() -> None:
    matched = route("r", "web", hosts=(HostPattern("*.example.com"),), headers={"x-team": "a"})
    first = next(iter(candidates(service("web"), [matched], GATEWAY, MESH)))
    assert b"Host: drill.example.com\r\n" in first.request()
    assert b"x-team: a\r\n" in first.request()


def test_a_grpc_service_is_asked_for_its_health_and_a_tcp_service_nothing() -> None:
    grpc = service("pay", protocol=Protocol.GRPC, check=Check(kind=CheckKind.GRPC, grpc_service="pay.v1"))
    aim = mesh_aim(grpc, MESH)
    assert aim.request().startswith(b"POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: pay\r\n")
    assert aim.request().endswith(b"\r\n\r\n\0\0\0\0\x08\x0a\x06pay.v1")
    assert not list(candidates(service("db", protocol=Protocol.TCP), [], GATEWAY, MESH))


def test_what_a_path_holds_never_becomes_another_line_of_the_request() -> None:
    odd = service("web", check=Check(kind=CheckKind.HTTP, path="/a\r\nx-evil: 1"))
    assert b"\r\nx-evil" not in mesh_aim(odd, MESH).request()


def test_the_ways_to_a_service_are_its_routes_and_everybody_who_depends_on_it_or_says_calls() -> None:
    pay = ServiceName("pay")
    snapshot = facts(
        service("pay"),
        service("shop", calls={pay: Call(policy=Policy(timeout=2.0), mesh_index=7)}),
        service("batch", run=Run(command=("x",), depends_on={pay: Condition.HEALTHY})),
        service("stranger"),
        routes=(route("pay", "pay", "/pay"),),
    )
    found = ways_to(snapshot.services[pay], snapshot, GATEWAY, MESH, 15100)
    assert [one.name for one in found] == ["route:pay", "batch>pay", "shop>pay"]
    assert [one.aims[-1].place.port for one in found] == [8080, 15001, 15107]
    assert [one.policy.policy.timeout for one in found] == [None, None, 2.0]
    assert found[2].advice("timeout: 2s") == "say `calls: {pay: {timeout: 2s}}` in services.shop"


SCENE = facts(service("web"), service("other"), instances=(("web", "web-1"), ("web", "web-2"), ("web", "guest")))
NODE = node(("web", "web-1", 11), ("web", "web-2", 12), ("other", "other-1", 13), ("web", "web-3", None))


@pytest.mark.parametrize(("target", "victims"), [("web", [11, 12]), ("web-2", [12]), ("guest", []), ("other", [13])])
def test_a_name_means_a_service_or_one_instance(target: str, victims: list[int]) -> None:
    assert [one.pid for one in scene_of(SCENE, [NODE], target).victims] == victims


def test_a_name_that_means_nobody_or_several_is_refused() -> None:
    with pytest.raises(NotFound, match="did you mean `web-"):
        scene_of(SCENE, [NODE], "wbe-1")
    twice = facts(service("a"), service("b"), instances=(("a", "x"), ("b", "x")))
    with pytest.raises(InvalidValue, match="a, b"):
        scene_of(twice, [NODE], "x")


@pytest.mark.parametrize(
    ("address", "place", "beyond"),
    [
        ("127.0.0.1:8080", Place("127.0.0.1", 8080), False),
        ("localhost:80", Place("localhost", 80), False),
        ("[::1]:80", Place("::1", 80), False),
        ("0.0.0.0:80", Place("127.0.0.1", 80), True),
        ("[::]:80", Place("::1", 80), True),
        ("192.168.1.4:80", Place("192.168.1.4", 80), True),
        ("shop.example.com:443", Place("shop.example.com", 443), True),
    ],
)
def test_where_a_gateway_listens_says_where_to_ask_and_who_else_may(address: str, place: Place, beyond: bool) -> None:
    assert place_of(address) == place
    assert beyond_loopback(GatewayReport(address=address)) == beyond


def test_an_address_that_is_none_is_no_place() -> None:
    assert [place_of(text) for text in ("", "8080", ":8080", "host:http")] == [None] * 4


def test_a_traced_request_begins_a_trace_of_its_own() -> None:
    sent = mesh_aim(service("web"), MESH).request("ab" * 16)
    assert f"\r\ntraceparent: 00-{'ab' * 16}-{'ab' * 8}-01\r\n".encode() in sent
