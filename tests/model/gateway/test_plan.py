"""Applying the plan between two configs to HAProxy's state gives the second config, and loses no request on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.gateway.config import GatewayConfig
from atoll.gateway.intent import intend, topped_up
from atoll.gateway.plan import Plan, Reload, RemoveServer, make_plan, sections
from atoll.model.names import InstanceId, ServiceName, Token
from atoll.model.route import Route
from atoll.model.service import Check, CheckKind, Instance, Protocol, Service, State
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway
from tests.model.gateway.haproxy_model import HaproxyModel
from tests.model.gateway.tables import SERVICES, route_tables

SETTINGS = replace(Gateway(), http_slots=2, grpc_slots=1, mesh_count=4)

services = st.fixed_dictionaries(
    {},
    optional={
        name: st.builds(
            Service,
            name=st.just(ServiceName(name)),
            protocol=st.sampled_from((Protocol.HTTP, Protocol.HTTP, Protocol.GRPC, Protocol.TCP)),
            check=st.builds(
                Check,
                kind=st.sampled_from(CheckKind),
                path=st.sampled_from(("/", "/ready")),
                timeout=st.sampled_from((1.0, 1.0, 2.0)),
            ),
            sticky=st.sampled_from((False, False, False, True)),
            mesh_index=st.just(at),
        )
        for at, name in enumerate(SERVICES)
    },
)
instances = st.lists(
    st.builds(
        Instance,
        service=st.sampled_from(SERVICES).map(ServiceName),
        id=st.sampled_from("abcd").map(InstanceId),
        host=st.just("127.0.0.1"),
        port=st.integers(9000, 9002),
        version=st.sampled_from((None, Token("v1"), Token("v2"))),
        weight=st.sampled_from((0, 50, 100)),
        state=st.sampled_from(State),
    ),
    max_size=8,
    unique_by=lambda each: (each.service, each.id),
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    made: dict[Any, Any] = draw(services)
    routes: list[Route] = draw(route_tables(max_size=4))
    return Snapshot(
        revision=draw(st.integers(1, 5)),
        services=made,
        instances={(each.service, each.id): each for each in draw(instances) if each.service in made},
        routes={route.name: route for route in routes},
    )


def essence(config: GatewayConfig) -> HaproxyModel:
    return HaproxyModel.of(config)


@settings(max_examples=300)
@given(st.lists(snapshots(), min_size=2, max_size=6))
def test_a_row_of_plans_leads_from_config_to_config(row: list[Snapshot]) -> None:
    running = intend(row[0], None, SETTINGS).config
    model = HaproxyModel.of(running)
    for snapshot in row[1:]:
        wanted = intend(snapshot, running, SETTINGS).config
        plan = make_plan(running, wanted)
        if isinstance(plan, Reload):
            assert plan.reasons
            running = topped_up(wanted, SETTINGS)
            model = HaproxyModel.of(running)
            assert make_plan(running, intend(snapshot, running, SETTINGS).config).operations == ()  # type: ignore[union-attr]
            continue
        for name in SERVICES:  # a service that could take requests before and after can all the time
            before, after = model.serving(name), HaproxyModel.of(wanted).serving(name)
            assert not (before and after) or always_served(model, plan, name)
        for operation in plan.operations:
            model.apply(operation)
        assert model == HaproxyModel.of(wanted)
        assert plan.generation == wanted.generation >= running.generation
        running = wanted


def always_served(model: HaproxyModel, plan: Plan, name: str) -> bool:
    copy = HaproxyModel({key: dict(value) for key, value in model.servers.items()}, dict(model.maps))
    for operation in plan.operations:
        copy.apply(operation)
        if not copy.serving(name):
            return False
    return True


@settings(max_examples=100)
@given(snapshots())
def test_nothing_is_done_when_nothing_changed_and_a_restart_needs_no_reload(snapshot: Snapshot) -> None:
    config = intend(snapshot, None, SETTINGS).config
    assert make_plan(config, config) == Plan(generation=1, revision=snapshot.revision)
    again = intend(snapshot, config, SETTINGS).config
    assert sections(again).keys() == sections(config).keys()
    assert make_plan(config, again) == Plan(generation=1, revision=snapshot.revision)


@settings(max_examples=100)
@given(snapshots(), snapshots())
def test_a_server_is_removed_patiently_exactly_when_its_endpoint_lives_on(old: Snapshot, new: Snapshot) -> None:
    running = intend(old, None, SETTINGS).config
    plan = make_plan(running, intend(new, running, SETTINGS).config)
    if isinstance(plan, Reload):
        return
    living = {(each.id, each.port) for each in new.instances.values()}
    before = sections(running)
    for operation in plan.operations:
        if isinstance(operation, RemoveServer):
            server = before[operation.backend].servers[operation.server]
            assert operation.patient == ((server.instance, server.port) in living)
