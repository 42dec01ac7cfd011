from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll import settings
from atoll.errors import (
    AddressForbidden,
    AtollError,
    Conflict,
    EndpointInUse,
    InvalidName,
    InvalidValue,
    LeaseConflict,
    LeaseExpired,
    LimitReached,
    NotFound,
)
from atoll.model.keys import instance_key, service_key
from atoll.model.names import InstanceId, Key, ServiceName
from atoll.model.registration import Registration, instance_of
from atoll.model.service import Protocol, State
from atoll.store.base import Put, Revision
from tests.unit.registry.stage import staged

ORDERS, ONE = ServiceName("orders"), InstanceId("o-1")


async def test_a_registration_creates_its_service_in_the_same_commit() -> None:
    async with staged() as stage:
        answer = await stage.register("orders", "o-1", protocol="grpc")
        assert answer.revision == 1
        service = stage.registry.facts.snapshot.services[ORDERS]
        assert service.protocol is Protocol.GRPC
        assert service.mesh_index == 0
        assert await stage.verbs("orders") == ["o-1 registered"]


async def test_the_same_body_again_is_a_renewal_that_writes_nothing() -> None:
    async with staged() as stage:
        first = await stage.register("orders", "o-1", version="v1")
        await stage.clock.advance(5)
        again = await stage.register("orders", "o-1", version="v1")
        shown = await stage.register("orders", "o-1", version="v1", lease=first.lease)
        assert first.lease == again.lease == shown.lease
        assert stage.store.revision == 1
        assert first.renew_after == pytest.approx(5.0)


async def test_a_renewal_with_other_content_is_written_and_keeps_its_lease() -> None:
    async with staged() as stage:
        first = await stage.register("orders", "o-1", weight=100)
        changed = await stage.register("orders", "o-1", weight=10, lease=first.lease)
        assert changed.lease == first.lease
        assert changed.instance.weight == 10
        assert await stage.verbs("orders") == ["o-1 registered", "o-1 changed"]


async def test_the_newest_registration_of_an_id_wins_and_the_old_holder_is_refused() -> None:
    async with staged() as stage:
        old = await stage.register("orders", "o-1", 9001)
        new = await stage.register("orders", "o-1", 9002)
        assert new.lease != old.lease
        with pytest.raises(LeaseConflict):
            await stage.register("orders", "o-1", 9001, lease=old.lease)
        assert [found.port for found in stage.registry.facts.of(ORDERS)] == [9002]
        assert await stage.verbs("orders") == ["o-1 registered", "o-1 replaced"]


async def test_a_quick_restart_with_the_same_id_keeps_its_place() -> None:
    async with staged() as stage:
        first = await stage.register("orders", "o-1", 9001)
        await stage.clock.advance(3)
        again = await stage.register("orders", "o-1", 9001)
        assert again.lease == first.lease
        moved = await stage.register("orders", "o-1", 9002)
        assert moved.revision == 2
        events = [entry.key async for entry in stage.archive._entries("instances/")]
        assert events == [instance_key(ORDERS, ONE)]


async def test_one_endpoint_belongs_to_one_instance() -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1", 9001)
        with pytest.raises(EndpointInUse) as caught:
            await stage.register("orders", "o-2", 9001)
        assert caught.value.fields == {"service": "orders", "instance": "o-1"}
        with pytest.raises(EndpointInUse):
            await stage.register("web", "w-1", 9001)
        assert stage.store.revision == 1


async def test_an_endpoint_can_be_taken_over_once_the_lease_of_its_holder_has_lapsed() -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1", 9001)
        await stage.clock.advance(16.5)
        await stage.register("web", "w-1", 9001)
        assert stage.find("orders", "o-1") is None
        assert (await stage.history("orders"))[-1].gone
        assert (await stage.history("orders"))[-1].cause == "its endpoint was taken over by web/w-1"


async def test_two_at_once_for_one_endpoint_have_one_winner() -> None:
    async with staged() as stage:
        found = await asyncio.gather(
            *(stage.register("orders", f"o-{number}", 9001) for number in range(20)), return_exceptions=True
        )
        assert sum(isinstance(one, EndpointInUse) for one in found) == 19
        assert len(stage.registry.facts.of(ORDERS)) == 1


async def test_two_at_once_for_one_id_leave_one_endpoint() -> None:
    async with staged() as stage:
        await asyncio.gather(*(stage.register("orders", "o-1", 9001 + number) for number in range(20)))
        found = stage.registry.facts.of(ORDERS)
        assert len(found) == 1
        assert len(stage.registry.facts._at) == 1
        assert len(stage.registry.locks._locks) == 0


async def test_services_created_at_once_get_different_mesh_ports_and_a_freed_one_is_given_again() -> None:
    async with staged() as stage:
        await asyncio.gather(*(stage.register(f"s{number}", "one", 9100 + number) for number in range(20)))
        services = stage.registry.facts.snapshot.services
        assert sorted(service.mesh_index for service in services.values()) == list(range(20))
        freed = services[ServiceName("s7")].mesh_index
        await stage.catalog.delete_service(ServiceName("s7"), force=True)
        await stage.register("fresh", "one", 9500)
        assert services[ServiceName("fresh")].mesh_index == freed


async def test_more_services_than_the_limit_are_refused_with_the_setting_to_raise() -> None:
    async with staged(service_limit=2) as stage:
        await stage.register("a", "one", 9001)
        await stage.register("b", "one", 9002)
        with pytest.raises(LimitReached, match="2 services") as caught:
            await stage.register("c", "one", 9003)
        assert "ATOLL_REGISTRY_SERVICES" in str(caught.value.hint)
        await stage.register("b", "two", 9004)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("127.0.0.1", 7070),
        ("127.0.0.9", 7070),
        ("::1", 7070),
        ("::ffff:127.0.0.1", 7070),
        ("127.0.0.1", 8080),
        ("10.1.2.3", 8080),
        ("127.0.0.1", 15100),
        ("127.0.0.1", 15355),
        ("169.254.169.254", 80),
        ("::ffff:169.254.169.254", 80),
        ("0.0.0.0", 80),
        ("/var/run/x.sock", 80),
        ("orders.internal", 80),
        ("2130706433", 80),
        ("0177.0.0.1", 80),
        ("127.0.0.1", 0),
        ("127.0.0.1", 70000),
    ],
)
async def test_the_platforms_own_and_forbidden_addresses_are_refused(host: str, port: int) -> None:
    async with staged() as stage:
        with pytest.raises(AddressForbidden):
            await stage.register("orders", "o-1", port, host=host)
        assert stage.store.revision == 0


async def test_a_neighbour_of_our_ports_is_not_ours() -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1", 15356)
        await stage.register("orders", "o-2", 7070, host="10.9.9.9")


async def test_deregistering_ends_the_lease_so_that_a_late_renewal_does_not_bring_it_back() -> None:
    async with staged() as stage:
        held = await stage.register("orders", "o-1")
        await stage.registry.deregister(ORDERS, ONE, lease=held.lease)
        with pytest.raises(LeaseExpired):
            await stage.renew(held)
        with pytest.raises(NotFound):
            await stage.registry.deregister(ORDERS, ONE)
        assert ORDERS in stage.registry.facts.snapshot.services, "a service stays when its last instance goes"
        again = await stage.register("orders", "o-1")
        assert again.lease != held.lease


async def test_deregistering_with_an_older_lease_is_refused() -> None:
    async with staged() as stage:
        old = await stage.register("orders", "o-1", 9001)
        await stage.register("orders", "o-1", 9002)
        with pytest.raises(LeaseConflict):
            await stage.registry.deregister(ORDERS, ONE, lease=old.lease)
        assert stage.find("orders", "o-1") is not None


async def test_a_renewal_rebuilds_a_control_plane_that_lost_everything() -> None:
    async with staged() as before:
        held = await before.register("orders", "o-1", version="v3")
    async with staged() as after:
        body = Registration(port=9001, version="v3", lease=held.lease)
        answer, created = await after.registry.register(ORDERS, ONE, body)
        assert created
        assert answer.lease != held.lease
        assert answer.instance.version == "v3"


async def test_an_operators_word_stands_until_it_is_taken_back() -> None:
    async with staged() as stage:
        held = await stage.register("orders", "o-1")
        await stage.registry.set_state(ORDERS, ONE, State.DRAINING, cause="deploy")
        await stage.renew(held)
        await stage.pass_time(5, held)
        found = stage.find("orders", "o-1")
        assert found is not None
        assert (found.state, found.cause) == (State.DRAINING, "deploy")
        await stage.registry.set_state(ORDERS, ONE, State.PASSING)
        assert stage.state("orders", "o-1") is State.PASSING
        assert await stage.verbs("orders") == ["o-1 registered", "o-1 draining", "o-1 passing"]


async def test_a_new_process_under_the_id_ends_a_drain_but_not_a_maintenance() -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1", 9001)
        await stage.registry.set_state(ORDERS, ONE, State.DRAINING)
        await stage.register("orders", "o-1", 9002)
        assert stage.state("orders", "o-1") is State.PASSING
        await stage.registry.set_state(ORDERS, ONE, State.MAINT)
        await stage.register("orders", "o-1", 9003)
        assert stage.state("orders", "o-1") is State.MAINT


@pytest.mark.parametrize("state", [State.SUSPECT, State.FAILING])
async def test_an_operator_cannot_say_what_follows_from_leases_and_checks(state: State) -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1")
        with pytest.raises(InvalidValue):
            await stage.registry.set_state(ORDERS, ONE, state)


async def test_an_old_revision_in_the_condition_is_a_conflict_and_changes_nothing() -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1", weight=1)
        await stage.register("orders", "o-1", weight=2)
        body = Registration(port=9001, weight=3)
        with pytest.raises(Conflict):
            await stage.registry.register(ORDERS, ONE, body, modified=Revision(1))
        with pytest.raises(Conflict):
            await stage.registry.set_state(ORDERS, ONE, State.MAINT, modified=Revision(1))
        with pytest.raises(Conflict):
            await stage.registry.deregister(ORDERS, ONE, modified=Revision(1))
        assert stage.store.revision == 2
        await stage.registry.register(ORDERS, ONE, body, modified=Revision(2))


async def test_a_writer_that_was_overtaken_decides_anew() -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1", weight=1)
        await stage.store.commit([Put(service_key(ORDERS), b'{"name":"orders","sticky":true}')])
        answer = await stage.register("orders", "o-2", 9002)
        assert answer.revision > 2
        assert stage.registry.facts.snapshot.services[ORDERS].sticky


POISON = {
    "services/null": b"null",
    "services/blank": b"",
    "services/other": b'{"name":"orders"}',
    "services/deep": b"[" * 5000,
    "instances/orders/x": b'{"service":"orders","id":"y","host":"127.0.0.1","port":1}',
    "instances/orders/nothing": b"{}",
    "instances/orders/wrong": b'{"service":"orders","id":"wrong","host":"127.0.0.1","port":"high"}',
    "routes/future": b'{"name":"future","shares":"all of them"}',
    "history/orders/garbage": b"\xff\xfe",
}


async def test_poisoned_records_are_set_aside_and_the_rest_is_served() -> None:
    async with staged() as stage:
        held = await stage.register("orders", "o-1")
        await stage.store.commit([Put(Key(key), value) for key, value in POISON.items()])
        async with staged(clock=stage.clock, store=stage.store) as again:
            assert [found.id for found in again.registry.facts.of(ORDERS)] == ["o-1"]
            assert set(again.registry.facts.snapshot.quarantined) == {k for k in POISON if not k.startswith("history/")}
            again.said = stage.said
            await again.pass_time(20, held)
            assert again.state("orders", "o-1") is State.PASSING
            await again.register("orders", "wrong", 9005)
            assert again.state("orders", "wrong") is State.PASSING
            assert "instances/orders/wrong" not in again.registry.facts.snapshot.quarantined


@given(st.text(max_size=80), st.text(max_size=140), st.text(max_size=80))
def test_whatever_the_strings_are_a_registration_is_refused_or_harmless(version: str, tag: str, value: str) -> None:
    said = Registration(port=80, version=version, tags=(tag,), metadata={"k": value})
    try:
        made = instance_of(ORDERS, ONE, said)
    except (InvalidName, InvalidValue):
        return
    hostile = set("\n\r\t\0\"'`;#$%\\{}[]<>|^\x1b ")
    assert not hostile & set(str(made.version) + "".join(made.tags))
    assert made.metadata["k"].isprintable()


@given(ttl=st.floats(allow_nan=True, allow_infinity=True), weight=st.integers())
def test_absurd_numbers_are_refused_with_their_field(ttl: float, weight: int) -> None:
    try:
        made = instance_of(ORDERS, ONE, Registration(port=80, ttl=ttl, weight=weight))
    except AtollError as error:
        assert error.status == 422
        assert error.fields["field"] in {"ttl", "weight"}
        return
    assert 2 <= made.ttl <= 3600
    assert 0 <= made.weight <= 256


def test_ten_thousand_tags_are_refused() -> None:
    with pytest.raises(InvalidValue, match="10000 tags"):
        instance_of(ORDERS, ONE, Registration(port=80, tags=("t",) * 10_000))


async def test_a_registration_without_a_ttl_gets_the_one_of_the_settings() -> None:
    async with staged(knobs=settings.Registry(ttl=40)) as stage:
        answer = await stage.register("orders", "o-1")
        assert answer.ttl == 40
        assert answer.renew_after == pytest.approx(40 / 3)
