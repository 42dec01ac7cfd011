from __future__ import annotations

from functools import partial

import msgspec
import pytest

from atoll.errors import Conflict, InvalidName, InvalidValue, LimitReached, NotFound, RouteConflict, StillInUse
from atoll.model.answers import Verb
from atoll.model.names import InstanceId, PathText, RouteName, ServiceName, Token
from atoll.model.policy import Policy
from atoll.model.project import Project
from atoll.model.route import Match, Route, Share
from atoll.model.service import Balance, BalanceKind, Check, Run, Service, State
from atoll.project.plan import make_plan, operations
from atoll.server.routes import refuse_route
from atoll.store.base import Revision
from tests.unit.registry.stage import Stage, staged

ORDERS = ServiceName("orders")
RUN = Run(command=("python", "app.py"), root="/srv")


def route(name: str, service: str = "orders", path: str = "/api") -> Route:
    return Route(name=RouteName(name), match=Match(path=PathText(path)), shares=(Share(service=ServiceName(service)),))


async def put_route(stage: Stage, said: Route) -> Revision:
    return (await stage.catalog.put_route(said, refuse_route))[1]


async def test_a_service_keeps_its_mesh_index_whatever_a_writer_says() -> None:
    async with staged() as stage:
        await stage.register("web", "w-1", 9001)
        await stage.catalog.put_service(Service(name=ORDERS, mesh_index=77))
        written, _ = await stage.catalog.put_service(Service(name=ORDERS, mesh_index=0, sticky=True))
        assert written.mesh_index == 1
        assert written.sticky


async def test_writing_the_same_service_again_makes_no_revision() -> None:
    async with staged() as stage:
        _, first = await stage.catalog.put_service(Service(name=ORDERS))
        _, again = await stage.catalog.put_service(Service(name=ORDERS))
        assert first == again == stage.store.revision


async def test_the_later_of_two_editors_with_an_old_revision_is_refused() -> None:
    async with staged() as stage:
        _, seen = await stage.catalog.put_service(Service(name=ORDERS))
        await stage.catalog.put_service(Service(name=ORDERS, sticky=True), modified=seen)
        with pytest.raises(Conflict):
            await stage.catalog.put_service(Service(name=ORDERS, slow_start=5), modified=seen)
        assert stage.registry.facts.snapshot.services[ORDERS].sticky


async def test_scale_stop_start_and_restart_are_words_in_the_fact() -> None:
    async with staged() as stage:
        await stage.catalog.put_service(Service(name=ORDERS, run=RUN))
        await stage.catalog.change_run(ORDERS, lambda run: msgspec.structs.replace(run, replicas=4))
        await stage.catalog.change_run(ORDERS, lambda run: msgspec.structs.replace(run, restarts=run.restarts + 1))
        found = stage.registry.facts.snapshot.services[ORDERS].run
        assert found is not None
        assert (found.replicas, found.restarts, found.stopped) == (4, 1, False)
        for wrong in (-1, 1001):
            with pytest.raises(InvalidValue, match="replicas"):
                await stage.catalog.change_run(ORDERS, partial(_scaled, wrong))


def _scaled(replicas: int, run: Run) -> Run:
    return msgspec.structs.replace(run, replicas=replicas)


async def test_a_service_that_atoll_does_not_run_cannot_be_scaled() -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1")
        with pytest.raises(InvalidValue, match="not run by atoll"):
            await stage.catalog.change_run(ORDERS, lambda run: run)
        with pytest.raises(NotFound):
            await stage.catalog.change_run(ServiceName("ghost"), lambda run: run)


async def test_a_service_with_instances_or_routes_is_not_deleted_by_accident() -> None:
    async with staged() as stage:
        held = await stage.register("orders", "o-1")
        await put_route(stage, route("r"))
        with pytest.raises(StillInUse, match="route r"):
            await stage.catalog.delete_service(ORDERS, force=True)
        await stage.catalog.delete_route(RouteName("r"))
        with pytest.raises(StillInUse, match="1 instances"):
            await stage.catalog.delete_service(ORDERS)
        await stage.catalog.delete_service(ORDERS, force=True)
        assert not stage.registry.facts.snapshot.services
        assert not stage.registry.facts.snapshot.instances
        assert (await stage.verbs("orders"))[-1] == "o-1 deregistered"
        with pytest.raises(NotFound):
            await stage.catalog.delete_service(ORDERS)
        again = await stage.register("orders", "o-1")
        assert again.lease != held.lease


async def test_a_route_to_nowhere_and_a_second_one_with_the_same_match_are_refused() -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1")
        with pytest.raises(InvalidValue, match="ordrs"):
            await put_route(stage, route("r", "ordrs"))
        await put_route(stage, route("r"))
        with pytest.raises(RouteConflict, match="route r"):
            await put_route(stage, route("other"))
        await put_route(stage, route("other", path="/other"))
        await put_route(stage, route("r"))
        with pytest.raises(NotFound):
            await stage.catalog.delete_route(RouteName("ghost"))


async def test_a_project_is_applied_as_one_commit_and_twice_changes_nothing() -> None:
    async with staged() as stage:
        project = Project(
            name="shop",
            services=(Service(name=ORDERS, run=RUN), Service(name=ServiceName("web"), run=RUN)),
            routes=(route("r"),),
        )
        first = await stage.catalog.apply(lambda snapshot: operations(snapshot, project))
        assert first == 1
        assert not make_plan(stage.registry.facts.snapshot, project).steps
        assert await stage.catalog.apply(lambda snapshot: operations(snapshot, project)) == 1
        indexes = [service.mesh_index for service in stage.registry.facts.snapshot.services.values()]
        assert sorted(indexes) == [0, 1]


async def test_a_project_with_more_services_than_the_limit_is_refused_as_a_whole() -> None:
    async with staged(service_limit=2) as stage:
        services = tuple(Service(name=ServiceName(f"s{number}"), run=RUN) for number in range(3))
        with pytest.raises(LimitReached):
            await stage.catalog.apply(lambda snapshot: operations(snapshot, Project(name="shop", services=services)))
        assert stage.store.revision == 0


HOSTILE = ["\n", "a\nb", "%[src]", "${HOME}", "a;b", "a b", '"', "\0", "\x1b[0m", "é", "", "../x", "x" * 5000]
BAD_SERVICES = [
    *(Service(name=ServiceName(text)) for text in HOSTILE),
    *(Service(name=ORDERS, origin=text) for text in HOSTILE),
    *(Service(name=ORDERS, check=Check(path=text)) for text in HOSTILE),
    *(Service(name=ORDERS, check=Check(grpc_service=text)) for text in HOSTILE if text),
    *(Service(name=ORDERS, balance=Balance(kind=BalanceKind.HASH, hash_on=f"header:{text}")) for text in HOSTILE),
    *(Service(name=ORDERS, run=msgspec.structs.replace(RUN, version=Token(text))) for text in HOSTILE),
    *(Service(name=ORDERS, run=msgspec.structs.replace(RUN, stop_signal=text)) for text in HOSTILE),
    *(Service(name=ORDERS, run=msgspec.structs.replace(RUN, environment={text: "x"})) for text in HOSTILE),
    Service(name=ORDERS, run=msgspec.structs.replace(RUN, command=())),
    Service(name=ORDERS, run=msgspec.structs.replace(RUN, command=("a\0b",))),
    Service(name=ORDERS, run=msgspec.structs.replace(RUN, root="relative")),
    Service(name=ORDERS, run=msgspec.structs.replace(RUN, port=80, replicas=2)),
    Service(name=ORDERS, check=Check(interval=0)),
    Service(name=ORDERS, check=Check(fall=0)),
    Service(name=ORDERS, check=Check(timeout=float("inf"))),
    Service(name=ORDERS, slow_start=-1),
]


@pytest.mark.parametrize("said", BAD_SERVICES, ids=lambda said: repr(said)[:80])
async def test_a_service_with_anything_wrong_in_it_is_refused(said: Service) -> None:
    async with staged() as stage:
        with pytest.raises((InvalidName, InvalidValue)) as caught:
            await stage.catalog.put_service(said)
        assert caught.value.detail.isprintable()
        assert stage.store.revision == 0


BAD_ROUTES = [
    *(route(text) for text in HOSTILE),
    *(route("r", path=text) for text in HOSTILE),
    *(Route(name=RouteName("r"), match=Match(hosts=(text,)), shares=(Share(service=ORDERS),)) for text in HOSTILE),  # type: ignore[arg-type]
    *(
        Route(name=RouteName("r"), match=Match(headers={"x": text}), shares=(Share(service=ORDERS),))  # type: ignore[dict-item]
        for text in HOSTILE
        if text != "../x"
    ),
    *(Route(name=RouteName("r"), rewrite=PathText(text), shares=(Share(service=ORDERS),)) for text in HOSTILE),
    Route(name=RouteName("r"), shares=()),
    Route(name=RouteName("r"), shares=(Share(service=ORDERS, weight=-1),)),
    Route(name=RouteName("r"), shares=(Share(service=ORDERS, weight=0),)),
    Route(name=RouteName("r"), policy=Policy(timeout=-1), shares=(Share(service=ORDERS),)),
    Route(name=RouteName("r"), match=Match(methods=("FETCH",)), shares=(Share(service=ORDERS),)),
]


@pytest.mark.parametrize("said", BAD_ROUTES, ids=lambda said: repr(said)[:80])
async def test_a_route_with_anything_wrong_in_it_is_refused(said: Route) -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1")
        with pytest.raises((InvalidName, InvalidValue)) as caught:
            await put_route(stage, said)
        assert caught.value.detail.isprintable()
        assert stage.store.revision == 1


async def test_draining_is_kept_when_the_project_is_applied_again() -> None:
    async with staged() as stage:
        project = Project(name="shop", services=(Service(name=ORDERS, run=RUN),))
        await stage.catalog.apply(lambda snapshot: operations(snapshot, project))
        await stage.register("orders", "o-1")
        await stage.registry.set_state(ORDERS, InstanceId("o-1"), State.DRAINING)
        await stage.catalog.apply(lambda snapshot: operations(snapshot, project))
        assert stage.state("orders", "o-1") is State.DRAINING


async def test_what_changes_a_service_or_a_route_to_it_is_told_in_its_history_without_texts() -> None:
    async with staged() as stage:
        old = Run(command=("x", "--password=old"), environment={"KEY": "old"})
        new = Run(command=("x", "--password=new"), environment={"KEY": "new"}, replicas=3)
        await stage.catalog.put_service(Service(name=ORDERS, run=old))
        await stage.catalog.put_service(Service(name=ORDERS, run=new))
        route = Route(name=RouteName("r"), shares=(Share(service=ORDERS),))
        await put_route(stage, route)
        await put_route(stage, msgspec.structs.replace(route, policy=Policy(timeout=2.5)))
        await stage.catalog.delete_route(route.name)
        told = (await stage.archive.query(ORDERS, since=0.0, until=1e12, limit=10)).records
    assert [(one.verb, one.instance, one.cause) for one in told] == [
        (Verb.DEFINED, "", "run.command changed, run.environment.KEY changed, run.replicas 1 → 3"),
        (Verb.DEFINED, "", "route r: policy.timeout unset → 2.5"),
        (Verb.DEFINED, "", "route r: removed"),
    ]
