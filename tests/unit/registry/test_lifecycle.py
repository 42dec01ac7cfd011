from __future__ import annotations

import dataclasses
import itertools

import pytest

from atoll.errors import LeaseExpired
from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import State
from atoll.registry.sweep import sweep
from atoll.testing import FakeClock
from tests.unit.registry.stage import open_memory_at, staged

ORDERS = ServiceName("orders")


async def test_an_instance_that_stops_renewing_is_suspect_first_and_gone_within_two_seconds_of_its_ttl() -> None:
    async with staged() as stage:
        kept = [await stage.register("orders", f"o-{number}", 9000 + number) for number in range(2)]
        await stage.register("orders", "dead", 9009)
        await stage.pass_time(14.9, *kept)
        assert stage.state("orders", "dead") is State.PASSING
        await stage.clock.advance(0.6)
        assert stage.state("orders", "dead") is State.SUSPECT
        await stage.clock.advance(1.5)
        assert stage.find("orders", "dead") is None
        assert stage.registry.expired == 1
        assert (await stage.verbs("orders"))[-2:] == ["dead suspect", "dead expired"]


async def test_an_instance_that_was_paused_is_told_that_its_lease_expired_and_registers_anew() -> None:
    async with staged() as stage:
        kept = await stage.register("orders", "kept", 9001)
        paused = await stage.register("orders", "paused", 9002)
        await stage.pass_time(30, kept)
        with pytest.raises(LeaseExpired):
            await stage.renew(paused)
        back = await stage.register("orders", "paused", 9002)
        assert back.lease != paused.lease
        assert len(stage.registry.facts.of(ORDERS)) == 2


async def test_a_suspect_that_renews_in_time_is_passing_at_once() -> None:
    async with staged() as stage:
        kept = await stage.register("orders", "kept", 9001)
        slow = await stage.register("orders", "slow", 9002)
        await stage.pass_time(15.2, kept)
        await stage.clock.advance(0.5)
        assert stage.state("orders", "slow") is State.SUSPECT
        await stage.renew(slow)
        assert stage.state("orders", "slow") is State.PASSING
        assert (await stage.verbs("orders"))[-1] == "slow renewed"
        await stage.pass_time(10, kept, slow)
        assert stage.state("orders", "slow") is State.PASSING


async def test_the_last_instance_of_a_service_stays_and_is_failing() -> None:
    async with staged() as stage:
        await stage.register("orders", "one", 9001)
        await stage.register("orders", "two", 9002)
        await stage.pass_time(120)
        left = stage.registry.facts.of(ORDERS)
        assert len(left) == 1
        assert left[0].state is State.FAILING
        assert "last instance" in left[0].cause


async def test_the_kept_last_instance_goes_once_another_one_is_there() -> None:
    async with staged() as stage:
        await stage.register("orders", "dead", 9001)
        await stage.pass_time(60)
        fresh = await stage.register("orders", "fresh", 9002)
        await stage.pass_time(5, fresh)
        assert [found.id for found in stage.registry.facts.of(ORDERS)] == ["fresh"]


async def test_when_all_are_cut_off_all_are_kept_suspect_and_heal() -> None:
    async with staged() as stage:
        held = [await stage.register("orders", f"o-{number}", 9000 + number) for number in range(3)]
        held += [await stage.register("web", f"w-{number}", 9100 + number) for number in range(3)]
        await stage.pass_time(300)
        assert len(stage.registry.facts.snapshot.instances) == 6
        assert {found.state for found in stage.registry.facts.of(ORDERS)} == {State.SUSPECT}
        assert stage.registry.verdict.holding(ORDERS)
        await stage.renew(*held)
        await stage.pass_time(5, *held)
        assert {found.state for found in stage.registry.facts.snapshot.instances.values()} == {State.PASSING}
        assert not stage.registry.verdict.holds
        assert stage.registry.expired == 0


async def test_a_restart_gives_everybody_a_full_ttl() -> None:
    clock = FakeClock()
    async with open_memory_at(clock) as store:
        async with staged(clock=clock, store=store) as before:
            held = [await before.register("orders", f"o-{number}", 9000 + number) for number in range(2)]
            await before.pass_time(14)
        async with staged(clock=clock, store=store) as after:
            await after.pass_time(14)
            assert len(after.registry.facts.of(ORDERS)) == 2
            after.said = before.said
            await after.renew(*held)
            await after.pass_time(20, *held)
            assert after.registry.expired == 0
            assert after.store.revision == 2, "renewals after a restart write nothing"


async def test_after_a_restart_expiry_is_smeared() -> None:
    clock = FakeClock()
    async with open_memory_at(clock) as store:
        async with staged(clock=clock, store=store) as before:
            for number in range(80):
                await before.register(f"s{number:02}", "kept", 9000 + number)
                await before.register(f"s{number:02}", "dead", 9200 + number)
        async with staged(clock=clock, store=store) as after:
            after.registry.knobs = dataclasses.replace(after.registry.knobs, global_share=0.0)
            gone: list[int] = []
            for _ in range(20):
                await after.clock.advance(1)
                gone.append(after.registry.expired)
            steps = [later - earlier for earlier, later in itertools.pairwise(gone)]
            assert max(steps) == 50
            assert gone[-1] == 80
            assert len(after.registry.facts.snapshot.services) == 80


async def test_a_blocked_control_plane_credits_every_lease() -> None:
    async with staged() as stage:
        held = [await stage.register("orders", f"o-{number}", 9000 + number) for number in range(3)]
        await stage.pass_time(5, *held)
        stage.clock._move_to(stage.clock.now() + 45)  # what SIGSTOP looks like from inside: time jumps
        await stage.clock.advance(5)
        assert stage.registry.meter.stalled >= 45
        assert stage.registry.meter.lag_most >= 44
        assert {found.state for found in stage.registry.facts.of(ORDERS)} == {State.PASSING}
        await stage.renew(*held)
        await stage.pass_time(20, *held)
        assert stage.registry.expired == 0


@pytest.mark.parametrize("jump", [3600.0, -3600.0, -1_795_000_000.0, 2_500_000_000.0])
async def test_the_wall_clock_does_not_touch_leases_and_history_keeps_its_order(jump: float) -> None:
    async with staged() as stage:
        held = await stage.register("orders", "o-1", 9001)
        stage.clock.set_wall(stage.clock.wall() + jump)
        await stage.pass_time(20, held)
        assert stage.state("orders", "o-1") is State.PASSING
        await stage.register("orders", "o-2", 9002)
        await stage.registry.deregister(ORDERS, InstanceId("o-2"))
        records = await stage.history("orders")
        assert [record.verb for record in records] == ["registered", "registered", "deregistered"]
        assert [record.skewed for record in records[1:]] == [jump < 0] * 2


async def test_a_renewal_while_the_disk_is_slow_is_never_lost_to_an_expiry_in_flight() -> None:
    async with staged() as stage:
        kept = await stage.register("orders", "kept", 9001)
        slow = await stage.register("orders", "slow", 9002)
        await stage.pass_time(15.2, kept)
        await stage.clock.advance(0.6)
        assert stage.state("orders", "slow") is State.SUSPECT
        await stage.renew(slow)
        await sweep(stage.registry)
        assert stage.state("orders", "slow") is State.PASSING


async def test_history_replays_who_could_receive_traffic() -> None:
    async with staged() as stage:
        one = await stage.register("orders", "one", 9001, version="v1")
        await stage.pass_time(10, one)
        two = await stage.register("orders", "two", 9002, version="v2")
        await stage.pass_time(10, one, two)
        await stage.registry.set_state(ORDERS, InstanceId("one"), State.DRAINING, cause="deploy")
        await stage.pass_time(10, one, two)
        await stage.registry.deregister(ORDERS, InstanceId("one"))
        start = one.instance.registered

        async def at(seconds: float) -> list[str]:
            found = await stage.archive.receivers(ORDERS, start + seconds)
            return [f"{record.instance} {record.version} {record.endpoint}" for record in found.receivers]

        assert await at(-1) == []
        assert await at(5) == ["one v1 127.0.0.1:9001"]
        assert await at(15) == ["one v1 127.0.0.1:9001", "two v2 127.0.0.1:9002"]
        assert await at(25) == ["two v2 127.0.0.1:9002"]
        assert await at(500) == ["two v2 127.0.0.1:9002"]
