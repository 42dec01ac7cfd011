from __future__ import annotations

import asyncio

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.leader import Leader
from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import Instance, Mode, Service, State
from atoll.registry.leadership import elect
from atoll.testing import FakeClock
from tests.unit.registry.stage import Stage, open_memory_at, staged

ORDERS = ServiceName("orders")


def one(identity: str, *, state: State = State.PASSING, registered: float = 1.0, weight: int = 100) -> Instance:
    return Instance(
        service=ORDERS, id=InstanceId(identity), host="127.0.0.1", port=9000, state=state, registered=registered,
        weight=weight,
    )  # fmt: skip


def chosen(present: Leader | None, *instances: Instance, revision: int = 10) -> Leader | None:
    return elect(ORDERS, present, instances, revision=revision, wall=5.0)


def leads(identity: str, *, fencing: int = 3, registered: float = 1.0) -> Leader:
    return Leader(service=ORDERS, instance=InstanceId(identity), fencing=fencing, registered=registered)


def test_the_first_leader_is_the_one_that_registered_first() -> None:
    found = chosen(None, one("b", registered=1.0), one("a", registered=2.0))
    assert found is not None
    assert (found.instance, found.fencing, found.cause) == ("b", 11, "")


def test_the_present_leader_keeps_its_place_while_it_lives() -> None:
    for state in (State.PASSING, State.SUSPECT):
        assert chosen(leads("b"), one("a", registered=0.5), one("b", state=state)) is None


def test_a_failing_drained_or_absent_leader_is_replaced_and_the_reason_is_told() -> None:
    for state, why in (
        (State.FAILING, "b is failing"),
        (State.DRAINING, "b is draining"),
        (State.MAINT, "b is maint"),
    ):
        found = chosen(leads("b"), one("a"), one("b", state=state))
        assert found is not None
        assert (found.instance, found.cause) == ("a", why)
    gone = chosen(leads("b"), one("a"))
    assert gone is not None
    assert gone.cause == "b is gone"


def test_a_process_that_takes_the_leaders_id_over_leads_in_a_term_of_its_own() -> None:
    found = chosen(leads("b", registered=1.0), one("b", registered=9.0))
    assert found is not None
    assert (found.instance, found.fencing) == ("b", 11)


def test_a_failing_leader_stays_when_nobody_is_better_and_one_that_left_leaves_nobody() -> None:
    assert chosen(leads("b"), one("b", state=State.FAILING)) is None
    for others in ((), (one("b", state=State.DRAINING),), (one("b", weight=0),)):
        found = chosen(leads("b"), *others)
        assert found is not None
        assert (found.instance, found.fencing) == (None, 3)
    assert chosen(msgspec.structs.replace(leads("b"), instance=None)) is None


INSTANCES = st.lists(
    st.builds(
        one,
        st.sampled_from("abcd"),
        state=st.sampled_from(list(State)),
        registered=st.sampled_from([1.0, 2.0, 3.0]),
        weight=st.sampled_from([0, 1, 100]),
    ),
    max_size=4,
    unique_by=lambda each: each.id,
)


@given(st.lists(INSTANCES, max_size=12))
def test_numbers_grow_with_every_term_and_a_leader_is_fit_when_it_is_chosen(steps: list[list[Instance]]) -> None:
    present: Leader | None = None
    greatest, revision = 0, 7
    for instances in steps:
        revision += 1
        found = elect(ORDERS, present, instances, revision=revision, wall=0.0)
        if found is not None:
            revision += 1  # its commit
            if found.instance is not None:
                leader = next(each for each in instances if each.id == found.instance)
                assert leader.state in {State.PASSING, State.SUSPECT}
                assert leader.weight > 0
                assert found.fencing > greatest
                assert found.fencing <= revision
                greatest = found.fencing
            else:
                assert found.fencing == greatest
            present = found
        again = elect(ORDERS, present, instances, revision=revision, wall=0.0)
        assert again is None, "a decision stands until something changes"


async def passive(stage: Stage) -> None:
    await stage.catalog.put_service(Service(name=ORDERS, mode=Mode.ACTIVE_PASSIVE))


async def led(stage: Stage, instance: str | None) -> Leader:
    """The leader, as soon as it is this one."""
    async with asyncio.timeout(5):
        while (found := stage.registry.facts.snapshot.leaders.get(ORDERS)) is None or found.instance != instance:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return found


async def test_a_registry_elects_replaces_and_remembers() -> None:
    clock = FakeClock()
    async with open_memory_at(clock) as store:
        async with staged(clock=clock, store=store) as stage:
            await passive(stage)
            await stage.register("orders", "o1", 9001)
            await clock.advance(0.1)
            await stage.register("orders", "o2", 9002)
            first = await led(stage, "o1")
            await stage.registry.set_state(ORDERS, InstanceId("o1"), State.DRAINING, cause="it stops")
            second = await led(stage, "o2")
            assert second.fencing > first.fencing
            assert second.cause == "o1 is draining: it stops"
            assert (await stage.verbs("orders"))[-1] == "o2 leading"
        async with staged(clock=clock, store=store) as stage:
            assert (await led(stage, "o2")).fencing == second.fencing
            await stage.registry.deregister(ORDERS, InstanceId("o2"))
            await stage.registry.deregister(ORDERS, InstanceId("o1"))
            nobody = await led(stage, None)
            assert nobody.fencing == second.fencing
            await stage.register("orders", "o1", 9001)
            assert (await led(stage, "o1")).fencing > second.fencing


async def test_a_service_that_is_made_anew_goes_on_with_greater_numbers() -> None:
    async with staged() as stage:
        await passive(stage)
        await stage.register("orders", "o1", 9001)
        before = await led(stage, "o1")
        await stage.catalog.delete_service(ORDERS, force=True)
        async with asyncio.timeout(5):
            while stage.registry.facts.snapshot.leaders:  # noqa: ASYNC110 - another task is waited for
                await asyncio.sleep(0)
        await passive(stage)
        await stage.register("orders", "o1", 9001)
        assert (await led(stage, "o1")).fencing > before.fencing
