from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import OriginConflict
from atoll.model.mesh import free_mesh_index
from atoll.model.names import InstanceId, Key, NodeName, PathText, RouteName, ServiceName
from atoll.model.project import Project, Verb
from atoll.model.route import Match, Route, Share
from atoll.model.service import Instance, Protocol, Run, Service
from atoll.model.snapshot import Snapshot
from atoll.project.plan import make_plan, operations
from atoll.project.render import render_plan
from atoll.store.base import Delete, Put

ORDERS, CATALOG = ServiceName("orders"), ServiceName("catalog")


def service(name: str, *, replicas: int = 1, port: int | None = 0, command: str = "./run") -> Service:
    return Service(name=ServiceName(name), run=Run(command=(command,), replicas=replicas, port=port))


def route(name: str, to: str = "orders", path: str = "/") -> Route:
    return Route(
        name=RouteName(name), match=Match(path=PathText(path)), shares=(Share(service=ServiceName(to)),), origin="shop"
    )


def project(*services: Service, routes: Sequence[Route] = (), name: str = "shop") -> Project:
    return Project(name=name, services=services, routes=tuple(routes))


def apply(snapshot: Snapshot, wanted: Project) -> Snapshot:
    """The snapshot after the commit, as a store would list it."""
    after = Snapshot(snapshot.revision + 1, dict(snapshot.services), dict(snapshot.instances), dict(snapshot.routes))
    for operation in operations(snapshot, wanted):
        if isinstance(operation, Put):
            after.put(operation.key, operation.value)
        else:
            after.delete(operation.key)
    assert not after.quarantined
    return after


def operator(snapshot: Snapshot, name: ServiceName, **words: object) -> None:
    current = snapshot.services[name]
    assert current.run is not None
    snapshot.services[name] = msgspec.structs.replace(current, run=msgspec.structs.replace(current.run, **words))


def run_of(snapshot: Snapshot, name: ServiceName = ORDERS) -> Run:
    run = snapshot.services[name].run
    assert run is not None
    return run


def test_an_empty_platform_gets_everything_services_before_routes() -> None:
    plan = make_plan(Snapshot(), project(service("orders"), service("catalog"), routes=[route("orders")]))
    assert [(step.verb, step.key) for step in plan.steps] == [
        (Verb.CREATE, "services/orders"),
        (Verb.CREATE, "services/catalog"),
        (Verb.CREATE, "routes/orders"),
    ]


def test_what_left_the_file_goes_routes_before_services() -> None:
    running = apply(Snapshot(), project(service("orders"), service("catalog"), routes=[route("orders")]))
    assert operations(running, project(service("catalog"))) == [
        Delete(Key("routes/orders")),
        Delete(Key("services/orders")),
    ]


def test_a_change_is_told_field_by_field_with_defaults_said() -> None:
    running = apply(Snapshot(), project(service("orders", replicas=2, command="./old")))
    changed = project(service("orders", command="./new"))
    assert render_plan(make_plan(running, changed)).splitlines() == [
        "~ service orders",
        "  ~ command: ./old → ./new",
        "  ~ replicas: 2 → 1",
        "  ~ declared_replicas: 2 → 1",
        "",
        "plan: 1 to change",
    ]


def test_nothing_to_change_is_said() -> None:
    running = apply(Snapshot(), project(service("orders")))
    plan = make_plan(running, project(service("orders")))
    assert plan.steps == ()
    assert plan.revision == running.revision
    assert render_plan(plan) == "nothing to change"


def test_a_hand_scaled_service_stays_so_until_the_file_changes_its_own_number() -> None:
    running = apply(Snapshot(), project(service("orders", replicas=2)))
    operator(running, ORDERS, replicas=5)
    assert make_plan(running, project(service("orders", replicas=2))).steps == ()
    kept = apply(running, project(service("orders", replicas=2, command="./other")))
    assert run_of(kept).replicas == 5
    assert run_of(apply(kept, project(service("orders", replicas=3)))).replicas == 3


def test_the_files_own_number_set_to_what_was_scaled_by_hand_is_then_the_files() -> None:
    running = apply(Snapshot(), project(service("orders", replicas=2)))
    operator(running, ORDERS, replicas=5)
    running = apply(running, project(service("orders", replicas=5)))
    assert run_of(running).declared_replicas == 5
    assert run_of(apply(running, project(service("orders", replicas=2)))).replicas == 2


def test_a_service_that_gets_a_fixed_port_falls_back_to_the_files_number() -> None:
    running = apply(Snapshot(), project(service("orders", replicas=1)))
    operator(running, ORDERS, replicas=4)
    assert run_of(apply(running, project(service("orders", port=9000)))).replicas == 1


def test_stop_and_restart_words_survive_an_apply() -> None:
    running = apply(Snapshot(), project(service("orders")))
    operator(running, ORDERS, stopped=True, restarts=3, rolling=True)
    assert make_plan(running, project(service("orders"))).steps == ()
    after = run_of(apply(running, project(service("orders", command="./other"))))
    assert (after.stopped, after.restarts, after.rolling) == (True, 3, True)


def test_a_project_cannot_say_operator_words() -> None:
    said = service("orders")
    assert said.run is not None
    said = msgspec.structs.replace(said, run=msgspec.structs.replace(said.run, stopped=True, restarts=9))
    assert run_of(apply(Snapshot(), project(said))).stopped is False


def test_mesh_ports_stay_and_new_services_get_the_smallest_free_one() -> None:
    running = apply(Snapshot(), project(service("a"), service("b"), service("c")))
    assert [s.mesh_index for s in running.services.values()] == [0, 1, 2]
    running = apply(running, project(service("a"), service("c")))
    running = apply(running, project(service("z"), service("a"), service("y"), service("c")))
    assert {s.name: s.mesh_index for s in running.services.values()} == {"a": 0, "c": 2, "z": 1, "y": 3}


def test_a_mesh_port_is_not_given_on_in_the_commit_that_frees_it() -> None:
    running = apply(Snapshot(), project(service("a")))
    after = apply(running, project(service("b")))
    assert after.services[ServiceName("b")].mesh_index == 1


@given(st.sets(st.integers(0, 40)))
def test_the_free_mesh_index_is_the_smallest(taken: set[int]) -> None:
    services = [Service(name=ServiceName(f"s{index}"), mesh_index=index) for index in taken]
    assert free_mesh_index(services) == next(index for index in range(42) if index not in taken)


def test_a_service_that_came_by_registration_is_adopted_with_its_mesh_port() -> None:
    running = Snapshot(7)
    running.services[ORDERS] = Service(name=ORDERS, mesh_index=5, protocol=Protocol.GRPC)
    after = apply(running, project(service("orders")))
    assert (after.services[ORDERS].origin, after.services[ORDERS].mesh_index) == ("shop", 5)
    assert run_of(after).replicas == 1


@pytest.mark.parametrize("origin", ["api", "other"])
def test_facts_of_others_are_never_touched(origin: str) -> None:
    running = Snapshot(1)
    running.services[CATALOG] = msgspec.structs.replace(service("catalog"), origin=origin)
    running.routes[RouteName("theirs")] = msgspec.structs.replace(route("theirs", "catalog", "/c"), origin=origin)
    assert operations(running, project()) == []
    with pytest.raises(OriginConflict) as refusal:
        make_plan(
            running,
            project(service("catalog"), routes=[route("theirs", "catalog", "/x"), route("mine", "catalog", "/c")]),
        )
    assert len(refusal.value.fields["conflicts"]) == 3
    assert refusal.value.hint


def test_a_service_with_instances_of_its_own_is_handed_back_to_the_registry() -> None:
    running = apply(Snapshot(), project(service("orders"), service("catalog")))
    for name, node in ((ORDERS, None), (CATALOG, NodeName("local"))):
        running.instances[name, InstanceId("i")] = Instance(
            service=name, id=InstanceId("i"), host="127.0.0.1", port=1, node=node
        )
    after = apply(running, project())
    assert list(after.services) == [ORDERS]
    assert (after.services[ORDERS].origin, after.services[ORDERS].run) == ("registration", None)
    assert make_plan(after, project()).steps == ()


def test_values_that_look_like_passwords_are_hidden_in_the_text() -> None:
    said = Run(command=("./run",), environment={"DB_PASSWORD": "hunter2", "URL": "pg://u:hunter2@h/db", "SIZE": "5"})
    text = render_plan(make_plan(Snapshot(), project(Service(name=ORDERS, run=said))))
    assert "hunter2" not in text
    assert "environment.SIZE: 5" in text


def test_control_characters_of_a_stored_fact_are_escaped_in_the_text() -> None:
    running = Snapshot()
    odd = ServiceName("evil\x1b[31m\n")
    running.services[odd] = Service(name=odd, origin="shop")
    assert render_plan(make_plan(running, project())).splitlines()[0] == "- service evil\\x1b[31m\\n"


names = st.sampled_from(["a", "b", "c", "d"])
services = st.dictionaries(names, st.builds(
    lambda replicas, command, runs: Run(command=(command,), replicas=replicas) if runs else None,
    st.integers(0, 3), st.sampled_from(["./x", "./y"]), st.booleans(),
))  # fmt: skip
routes = st.dictionaries(names, names)


@st.composite
def projects(draw: st.DrawFn) -> Project:
    said = draw(services)
    return Project(
        name="shop",
        services=tuple(Service(name=ServiceName(name), run=run) for name, run in said.items()),
        routes=tuple(route(name, to, f"/{name}") for name, to in draw(routes).items()),
    )


words = st.fixed_dictionaries(
    {"replicas": st.integers(0, 9), "stopped": st.booleans(), "restarts": st.integers(0, 3), "rolling": st.booleans()}
)


@given(st.lists(st.tuples(projects(), words), min_size=1, max_size=5))
def test_applying_twice_plans_nothing_whatever_operators_said_between(
    history: list[tuple[Project, dict[str, object]]],
) -> None:
    running = Snapshot()
    for wanted, said in history:
        planned = make_plan(running, wanted).steps
        written = operations(running, wanted)
        assert [step.key for step in planned] == [operation.key for operation in written]
        running = apply(running, wanted)
        for name, current in list(running.services.items()):
            if current.run is not None:
                operator(running, name, **said)
        assert make_plan(running, wanted).steps == ()
        assert operations(running, wanted) == []
        indexes = [current.mesh_index for current in running.services.values()]
        assert len(set(indexes)) == len(indexes)
        assert set(running.services) == {current.name for current in wanted.services}
