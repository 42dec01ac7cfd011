from __future__ import annotations

import msgspec
import pytest

from atoll.errors import ProjectInvalid
from atoll.model.breaker import Breaker
from atoll.model.names import HeaderName, HeaderValue, HostPattern, PathText, RouteName, ServiceName, Token
from atoll.model.policy import Policy
from atoll.model.project import Project
from atoll.model.route import Match, Route, Share
from atoll.model.service import Balance, BalanceKind, Check, Condition, Restart, Run, Service
from atoll.project.finding import Code, findings_of
from atoll.project.routes_valid import same_match
from atoll.project.valid import check_project

A = ServiceName("a")
RUN = Run(command=("./a",))
OK = Service(name=A, run=RUN)
ROUTE = Route(name=RouteName("r"), shares=(Share(service=A),))


def codes(*services: Service, routes: tuple[Route, ...] = (), name: str = "shop") -> list[Code]:
    try:
        check_project(Project(name=name, services=services, routes=routes), {})
    except ProjectInvalid as error:
        return [finding.code for finding in findings_of(error)]
    return []


def test_a_sound_project_passes() -> None:
    assert codes(OK, routes=(ROUTE,)) == []


def test_services_that_exist_beside_the_project_are_known() -> None:
    check_project(Project(name="shop", routes=(ROUTE,)), {A: OK})
    with pytest.raises(ProjectInvalid):
        check_project(Project(name="shop", routes=(ROUTE,)), {})


@pytest.mark.parametrize(
    "run",
    [
        {"command": ()}, {"command": ("",)}, {"command": ("a\0",)}, {"root": "relative"}, {"working_dir": "\0"},
        {"environment": {"A=B": ""}}, {"environment": {"A": "\0"}}, {"port": 70000}, {"port": -1}, {"replicas": -1},
        {"replicas": 1001}, {"version": Token("a b")}, {"stop_signal": "SIGSTOP"}, {"stop_grace": float("nan")},
        {"stop_grace": -1.0}, {"depends_on": {ServiceName("nobody"): Condition.HEALTHY}},
        {"depends_on": {A: Condition.HEALTHY}, "restart": Restart.NO},
    ],
)  # fmt: skip
def test_the_api_takes_no_run_that_the_file_could_not_say(run: dict[str, object]) -> None:
    assert len(codes(Service(name=A, run=msgspec.structs.replace(RUN, **run)))) == 1


@pytest.mark.parametrize(
    "service",
    [
        {"name": ServiceName("A B")}, {"check": Check(path="/a b")}, {"check": Check(grpc_service="a b")},
        {"check": Check(interval=0.0)}, {"check": Check(fall=0)}, {"check": Check(start_period=float("inf"))},
        {"balance": Balance(kind=BalanceKind.HASH, hash_on="x;y")}, {"slow_start": -1.0},
    ],
)  # fmt: skip
def test_the_api_takes_no_service_that_the_file_could_not_say(service: dict[str, object]) -> None:
    assert len(codes(msgspec.structs.replace(OK, **service))) == 1


@pytest.mark.parametrize(
    "route",
    [
        {"name": RouteName("a b")}, {"shares": ()}, {"shares": (Share(service=A, weight=-1), Share(service=A, version=Token("v")))},
        {"shares": (Share(service=A, weight=0),)}, {"shares": (Share(service=A), Share(service=A))},
        {"shares": (Share(service=ServiceName("b")),)}, {"shares": (Share(service=A, version=Token("a b")),)},
        {"policy": Policy(timeout=float("nan"))}, {"rewrite": PathText("x")}, {"rewrite": PathText("/x/")}, {"match": Match(path=PathText("/a b"))},
        {"match": Match(path=PathText("/a/"))}, {"match": Match(hosts=(HostPattern("UPPER"),))}, {"match": Match(methods=("get",))},
        {"match": Match(headers={HeaderName("X-Y"): HeaderValue("a")})}, {"match": Match(headers={HeaderName("x"): HeaderValue("a b")})},
    ],
)  # fmt: skip
def test_the_api_takes_no_route_that_the_file_could_not_say(route: dict[str, object]) -> None:
    assert len(codes(OK, routes=(msgspec.structs.replace(ROUTE, **route),))) == 1


def test_names_are_given_once() -> None:
    assert codes(OK, OK) == [Code.NAME_TWICE]
    other = msgspec.structs.replace(ROUTE, match=Match(path=PathText("/x")))
    assert codes(OK, routes=(ROUTE, other)) == [Code.NAME_TWICE]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (Match(), Match(), True),
        (Match(hosts=(HostPattern("a"),)), Match(), False),
        (Match(hosts=(HostPattern("a"), HostPattern("b"))), Match(hosts=(HostPattern("b"),)), True),
        (Match(hosts=(HostPattern("*.b"),)), Match(hosts=(HostPattern("a.b"),)), False),
        (Match(methods=("GET",)), Match(methods=("HEAD",)), False),
        (Match(methods=("GET",)), Match(methods=("GET", "HEAD")), True),
        (Match(methods=("GET",)), Match(), False),
        (Match(exact=True), Match(), False),
        (Match(headers={HeaderName("a"): HeaderValue("b")}), Match(), False),
    ],
)
def test_routes_are_the_same_when_a_request_fits_both_with_equal_precedence(
    first: Match, second: Match, same: bool
) -> None:
    assert same_match(first, second) is same
    assert same_match(second, first) is same


def test_a_long_chain_and_a_dense_web_of_dependencies_are_judged_quickly() -> None:
    def depends(name: str, *others: str) -> Service:
        needed = {ServiceName(other): Condition.STARTED for other in others}
        return Service(name=ServiceName(name), run=msgspec.structs.replace(RUN, depends_on=needed))

    assert codes(*(depends(f"s{i}", *([f"s{i + 1}"] if i < 999 else [])) for i in range(1000))) == []
    assert codes(*(depends(f"s{i}", *(f"s{j}" for j in range(i))) for i in range(120))) == []
    assert codes(*(depends(f"s{i}", f"s{(i + 1) % 500}") for i in range(500))) == [Code.CYCLE]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("errors", 0), ("errors", 101), ("window", 0.0), ("window", 61.0), ("window", float("nan")), ("min_requests", 0),
        ("open", 0.0), ("open", -1.0), ("open", 3601.0), ("probes", 0), ("probes", -1),
    ],
)  # fmt: skip
def test_an_absurd_breaker_is_refused_where_it_stands(field: str, wrong: float) -> None:
    breaker = msgspec.structs.replace(Breaker(), **{field: wrong})
    service = msgspec.structs.replace(OK, policy=Policy(circuit_breaker=breaker))
    with pytest.raises(ProjectInvalid) as refused:
        check_project(Project(name="shop", services=(service,)), {})
    (finding,) = findings_of(refused.value)
    assert finding.path == ("services", service.name, "circuit_breaker", field)
