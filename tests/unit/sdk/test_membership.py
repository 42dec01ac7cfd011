"""How an instance holds its place: F1, F5 and every answer a registry can give."""

from __future__ import annotations

import asyncio
import logging
import math
import random

import pytest

from atoll.errors import (
    AtollError,
    EndpointInUse,
    LeaseConflict,
    LeaseExpired,
    NotFound,
    Overloaded,
    Unauthorized,
    Unreachable,
)
from atoll.kit.tasks import owned
from atoll.model.answers import Registered
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.sdk.membership import Member
from atoll.testing import FakeClock, settle
from tests.unit.sdk.registry import Registry

SAID = Registration(port=9000, version="v7", weight=50, tags=("blue",), metadata={"team": "x"})


def member(registry: Registry, clock: FakeClock, *, take_over: bool = False, seed: int = 3) -> Member:
    registry.clock = clock.now
    return Member(
        ServiceName("orders"),
        InstanceId("orders-1"),
        SAID,
        registry,
        clock,
        take_over=take_over,
        rng=random.Random(seed),
    )


async def live(one: Member, clock: FakeClock, seconds: float) -> None:
    async with owned("test") as tasks:
        tasks.start("keep", one.keep())
        await clock.advance(seconds)


async def test_it_registers_at_once_and_renews_every_third_of_its_ttl_give_or_take_a_fifth() -> None:
    clock, registry = FakeClock(), Registry()
    one = member(registry, clock)
    await live(one, clock, 300)
    gaps = [later - earlier for earlier, later in zip(registry.times, registry.times[1:], strict=False)]
    assert registry.times[0] == 1000.0
    assert min(gaps) >= 4.0
    assert max(gaps) <= 6.0
    assert len({round(gap, 3) for gap in gaps}) > 20, "not in step with anybody"
    assert registry.shown[:3] == ["", "lease-1", "lease-1"]
    assert one.registered


async def test_every_renewal_carries_the_whole_registration() -> None:
    clock, registry = FakeClock(), Registry()
    await live(member(registry, clock), clock, 30)
    for said in registry.said:
        assert (said.port, said.version, said.weight, said.tags, said.metadata) == (
            9000,
            "v7",
            50,
            ("blue",),
            {"team": "x"},
        )


async def test_a_control_plane_that_is_absent_is_asked_again_and_found_within_two_intervals() -> None:
    for seed in range(20):
        clock, registry = FakeClock(), Registry()
        registry.refuses = Unreachable("not started")
        one = member(registry, clock, seed=seed)
        async with owned("test") as tasks:
            tasks.start("keep", one.keep())
            await clock.advance(120)
            assert (one.registered, type(one.trouble)) == (False, Unreachable)
            assert 20 < len(registry.said) < 400, "asked, not hammered"
            registry.refuses = None
            await clock.advance(10)
            assert (one.registered, one.trouble) == (True, None)


async def test_many_that_lost_the_control_plane_together_do_not_come_back_together() -> None:
    clock, firsts = FakeClock(), []
    registries = [Registry() for _ in range(200)]
    async with owned("test") as tasks:
        for number, registry in enumerate(registries):
            registry.refuses = Unreachable("restarting")
            tasks.start(f"keep-{number}", member(registry, clock, seed=number).keep())
        await clock.advance(60)
        for registry in registries:
            registry.refuses = None
        back = clock.now()
        await clock.advance(6)
        firsts = [next(time for time in registry.times if time > back) - back for registry in registries]
    busiest = max(sum(1 for first in firsts if tick <= first * 10 < tick + 1) for tick in range(60))
    assert busiest < 40, "in no tenth of a second a fifth of all"


async def test_an_expired_lease_is_replaced_at_once() -> None:
    clock, registry = FakeClock(), Registry()
    one = member(registry, clock)
    async with owned("test") as tasks:
        tasks.start("keep", one.keep())
        await settle()
        registry.once.append(LeaseExpired("it lapsed"))
        await clock.advance(6.1)
        assert registry.shown[:3] == ["", "lease-1", ""]
        assert registry.times[2] == registry.times[1]
        assert (one.registered, one.anew) == (True, 1)


async def test_a_registry_that_calls_everything_expired_is_not_hammered() -> None:
    clock, registry = FakeClock(), Registry()
    registry.refuses = LeaseExpired("always")
    await live(member(registry, clock), clock, 60)
    assert len(registry.said) < 200


async def test_a_newer_holder_of_the_id_stops_us_with_a_clear_error() -> None:
    clock, registry = FakeClock(), Registry()
    one = member(registry, clock)
    keeping = asyncio.ensure_future(one.keep())
    await settle()
    registry.once.append(LeaseConflict("newer"))
    await clock.advance(60)
    with pytest.raises(LeaseConflict, match="orders/orders-1") as caught:
        await keeping
    assert caught.value.hint
    assert "take_over" in caught.value.hint
    assert len(registry.said) == 2, "it does not fight"
    assert await one.leave()
    assert registry.left == [], "what the other one registered stays"


async def test_told_to_take_over_it_registers_without_the_lost_lease() -> None:
    clock, registry = FakeClock(), Registry()
    one = member(registry, clock, take_over=True)
    async with owned("test") as tasks:
        tasks.start("keep", one.keep())
        await settle()
        registry.once.append(LeaseConflict("newer"))
        await clock.advance(7)
        assert registry.shown[:3] == ["", "lease-1", ""]
        assert one.registered


@pytest.mark.parametrize(
    "error", [Unauthorized("who?"), EndpointInUse("taken"), AtollError("500"), Unreachable("html")]
)
async def test_no_refusal_ends_it_and_each_kind_is_told_once(
    error: AtollError, caplog: pytest.LogCaptureFixture
) -> None:
    clock, registry = FakeClock(), Registry()
    registry.refuses = error
    with caplog.at_level(logging.WARNING, "atoll.sdk"):
        await live(member(registry, clock), clock, 300)
    assert len(caplog.records) == 1
    assert len(registry.said) > 50


async def test_an_overloaded_control_plane_is_given_the_time_it_asks_for() -> None:
    clock, registry = FakeClock(), Registry()
    registry.once = [Overloaded("busy", retry_after=9)]
    await live(member(registry, clock), clock, 30)
    assert 9 <= registry.times[1] - registry.times[0] <= 9 * 1.2 + 0.01


@pytest.mark.parametrize("asked", [0.0, -3.0, 1e-9, math.nan, math.inf, 1e300])
async def test_an_absurd_interval_is_not_followed(asked: float) -> None:
    clock, registry = FakeClock(), Registry()
    registry.renew_after = asked
    await live(member(registry, clock), clock, 60)
    assert 10 <= len(registry.said) <= 16


@pytest.mark.parametrize("seconds", [math.nan, -1, 0, 1e9, "5", None, True])
async def test_an_absurd_retry_after_is_not_followed(seconds: object) -> None:
    clock, registry = FakeClock(), Registry()
    registry.once = [Overloaded("busy", retry_after=seconds)]
    await live(member(registry, clock), clock, 10)
    assert len(registry.said) > 1


async def test_after_a_blocked_loop_it_renews_at_once_and_only_once() -> None:
    clock, registry = FakeClock(), Registry()
    one = member(registry, clock)
    async with owned("test") as tasks:
        tasks.start("keep", one.keep())
        await settle()
        clock.stall(20)
        registry.once.append(LeaseExpired("it lapsed"))
        await clock.advance(0)
        assert registry.shown == ["", "lease-1", ""]
        await clock.advance(3.9)
        assert len(registry.said) == 3
        await clock.advance(60)
    assert (one.anew, one.registered) == (1, True)


async def test_leaving_deregisters_our_lease_and_nothing_comes_after() -> None:
    clock, registry = FakeClock(), Registry()
    one = member(registry, clock)
    async with owned("test") as tasks:
        keeping = tasks.start("keep", one.keep())
        await clock.advance(6)
        asked = len(registry.said)
        assert await one.leave()
        await clock.advance(60)
        assert keeping.done()
    assert registry.left == ["lease-1"]
    assert (len(registry.said), one.registered, one.left) == (asked, False, 11)


class Slow(Registry):
    """Takes its time for a registration."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def register(self, service: ServiceName, instance: InstanceId, said: Registration) -> Registered:
        await self.go.wait()
        return await super().register(service, instance, said)


async def test_a_registration_under_way_is_waited_for_so_that_it_cannot_arrive_after_the_farewell() -> None:
    clock, registry = FakeClock(), Slow()
    one = member(registry, clock)
    async with owned("test") as tasks:
        tasks.start("keep", one.keep())
        await settle()
        leaving = tasks.start("leave", one.leave())
        await settle()
        assert registry.left == []
        registry.go.set()
        assert await leaving
    assert registry.left == ["lease-1"]


async def test_who_never_registered_says_no_farewell() -> None:
    registry = Registry()
    one = member(registry, FakeClock())
    assert await one.leave()
    assert registry.left == []
    assert not await one.routed_away()


async def test_leaving_never_raises() -> None:
    for error, heard in ((Unreachable("away"), False), (NotFound("gone"), True), (LeaseConflict("newer"), True)):
        clock, registry = FakeClock(), Registry()
        one = member(registry, clock)
        await live(one, clock, 1)
        registry.refuses = error
        assert await one.leave() is heard
        assert not await one.routed_away()


async def test_it_is_routed_away_once_the_gateways_run_the_revision_of_the_farewell() -> None:
    clock, registry = FakeClock(), Registry()
    one = member(registry, clock)
    await live(one, clock, 1)
    await one.leave()
    for gateways, away in ((10, False), (11, True), (12, True)):
        registry.gateways = gateways
        assert await one.routed_away() is away
