from __future__ import annotations

import pytest

from atoll.errors import InvalidName, InvalidValue, NotFound
from atoll.model.maintenance import Maintenance, Target, parse_target
from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import State
from atoll.registry import maintenance
from atoll.testing import FakeClock
from tests.unit.registry.stage import Stage, open_memory_at, staged

ORDERS = ServiceName("orders")


async def begin(stage: Stage, target: str, *, seconds: float = 0.0, reason: str = "its disk is replaced") -> None:
    now = stage.clock.wall()
    word = Maintenance(target=target, reason=reason, since=now, until=now + seconds if seconds else 0.0)
    await maintenance.begin(stage.registry, word)


def states(stage: Stage) -> dict[str, str]:
    return {one.id: one.state.value for one in stage.registry.facts.snapshot.instances.values()}


async def a_pool(stage: Stage) -> None:
    await stage.register("orders", "a1", 9001, zone="a", node="m1")
    await stage.register("orders", "b1", 9002, zone="b")
    await stage.register("users", "b2", 9003, zone="b", node="m1")


@pytest.mark.parametrize(
    ("target", "out"),
    [("orders/b1", {"b1"}), ("orders", {"a1", "b1"}), ("zone:b", {"b1", "b2"}), ("node:m1", {"a1", "b2"})],
)
async def test_a_word_takes_out_what_it_names_and_gives_it_back(target: str, out: set[str]) -> None:
    async with staged() as stage:
        await a_pool(stage)
        await begin(stage, target)
        assert {name for name, state in states(stage).items() if state == "maint"} == out
        some = next(one for one in stage.registry.facts.snapshot.instances.values() if one.id in out)
        assert some.cause == f"maintenance of {target}: its disk is replaced"
        await maintenance.end(stage.registry, parse_target(target))
        assert set(states(stage).values()) == {"passing"}


async def test_a_newcomer_under_a_word_is_out_from_its_first_moment_and_so_is_a_process_that_replaces_another() -> None:
    async with staged() as stage:
        await a_pool(stage)
        await begin(stage, "zone:b")
        await stage.register("orders", "b9", 9009, zone="b")
        assert (await stage.verbs("orders"))[-1] == "b9 registered"
        assert stage.state("orders", "b9") is State.MAINT
        await stage.register("orders", "b1", 9020, zone="b")
        assert stage.state("orders", "b1") is State.MAINT
        found, _ = await stage.registry.set_state(ORDERS, InstanceId("b1"), State.PASSING)
        assert found.state is State.MAINT, "a node's own word for a new process does not end an operator's"


async def test_a_machine_that_is_out_keeps_what_starts_on_it_out_and_gives_it_back_when_no_other_word_holds() -> None:
    async with staged() as stage:
        await a_pool(stage)
        await begin(stage, "node:m1", seconds=60)
        await stage.register("orders", "a2", 9011, zone="a", node="m1")
        assert stage.state("orders", "a2") is State.MAINT
        await begin(stage, "zone:a")
        await maintenance.end(stage.registry, parse_target("node:m1"))
        assert {name for name, state in states(stage).items() if state == "maint"} == {"a1", "a2"}
        assert stage.find("orders", "a1").maintenance == "zone:a"  # type: ignore[union-attr]


async def test_a_word_ends_by_itself() -> None:
    async with staged() as stage:
        kept = [await stage.register("orders", "a1", 9001)]
        await begin(stage, "orders", seconds=20)
        await stage.pass_time(18, *kept)
        assert stage.state("orders", "a1") is State.MAINT
        await stage.pass_time(4, *kept)
        assert stage.state("orders", "a1") is State.PASSING
        assert not stage.registry.facts.snapshot.maintenance


async def test_a_word_survives_a_restart_of_the_control_plane() -> None:
    clock = FakeClock()
    async with open_memory_at(clock) as store:
        async with staged(clock=clock, store=store) as stage:
            await a_pool(stage)
            await begin(stage, "orders")
        async with staged(clock=clock, store=store) as stage:
            assert states(stage) == {"a1": "maint", "b1": "maint", "b2": "passing"}
            await maintenance.end(stage.registry, Target(service=ORDERS))
            assert set(states(stage).values()) == {"passing"}


async def test_two_words_about_one_instance_both_have_to_end() -> None:
    async with staged() as stage:
        await a_pool(stage)
        await begin(stage, "zone:b")
        await begin(stage, "orders/b1", reason="a second one")
        assert stage.find("orders", "b1").cause.endswith("a second one")  # type: ignore[union-attr]
        await maintenance.end(stage.registry, parse_target("orders/b1"))
        assert stage.find("orders", "b1").maintenance == "zone:b"  # type: ignore[union-attr]
        await maintenance.end(stage.registry, parse_target("zone:b"))
        assert stage.state("orders", "b1") is State.PASSING


async def test_a_drain_of_the_node_is_not_taken_back_by_the_end_of_a_word() -> None:
    async with staged() as stage:
        await a_pool(stage)
        await begin(stage, "orders")
        await stage.registry.set_state(ORDERS, InstanceId("a1"), State.DRAINING, cause="it stops")
        await maintenance.end(stage.registry, parse_target("orders"))
        assert stage.state("orders", "a1") is State.DRAINING


async def test_a_failing_check_does_not_bring_an_instance_out_of_maintenance() -> None:
    async with staged() as stage:
        await a_pool(stage)
        await stage.report(("orders", "a1", False))
        await begin(stage, "orders/a1")
        assert stage.state("orders", "a1") is State.MAINT
        await stage.report(("orders", "a1", True))
        await maintenance.end(stage.registry, parse_target("orders/a1"))
        assert stage.state("orders", "a1") is State.PASSING


@pytest.mark.parametrize(
    "target",
    [
        "",
        "Orders",
        "orders/",
        "orders/a b",
        "zone:",
        "zone:a/b",
        "node:",
        "node:M 1",
        "node:a/b",
        "orders;\n",
        "%[src]",
    ],
)
async def test_odd_targets_are_refused(target: str) -> None:
    async with staged() as stage:
        with pytest.raises(InvalidName):
            await begin(stage, target)


async def test_a_word_needs_a_reason_and_a_service_that_exists() -> None:
    async with staged() as stage:
        await a_pool(stage)
        with pytest.raises(InvalidValue):
            await begin(stage, "orders", reason=" ")
        with pytest.raises(NotFound):
            await begin(stage, "nobody")
        with pytest.raises(NotFound):
            await maintenance.end(stage.registry, parse_target("orders"))


async def test_the_words_of_a_service_that_is_deleted_go_with_it() -> None:
    async with staged() as stage:
        await a_pool(stage)
        await begin(stage, "users/b2")
        await stage.catalog.delete_service(ServiceName("users"), force=True)
        await stage.pass_time(2)
        assert not stage.registry.facts.snapshot.maintenance
