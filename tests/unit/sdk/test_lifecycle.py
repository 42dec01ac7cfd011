"""The order and the limits of an end: deregister, drain, return."""

from __future__ import annotations

import random

from atoll.errors import LeaseConflict, Unreachable
from atoll.kit.tasks import owned
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.sdk.lifecycle import DRAIN, HEARD_WITHIN, LINGER, UNHEARD, Lifecycle
from atoll.sdk.membership import Member
from atoll.testing import FakeClock, settle
from tests.unit.sdk.registry import Registry


def life_of(registry: Registry, clock: FakeClock) -> Lifecycle:
    registry.clock = clock.now
    said = Registration(port=9000)
    rng = random.Random(3)
    return Lifecycle(
        Member(ServiceName("orders"), InstanceId("orders-1"), said, registry, clock, rng=rng), clock, drain=DRAIN
    )


async def yes() -> bool:
    return True


class Ending:
    """A lifecycle that has joined, and how long its farewell took."""

    def __init__(self, registry: Registry) -> None:
        self.clock = FakeClock()
        self.registry = registry
        self.life = life_of(registry, self.clock)
        self.busy = 0
        self.took: float | None = None

    async def end(self) -> None:
        began = self.clock.now()
        await self.life.farewell(lambda: self.busy == 0)
        self.took = self.clock.now() - began


async def test_it_ends_once_the_gateways_run_without_it() -> None:
    ending = Ending(Registry())
    async with owned("test") as tasks:
        tasks.start("join", ending.life.join(yes))
        await settle()
        tasks.start("end", ending.end())
        await ending.clock.advance(LINGER + 1)
        assert ending.registry.left == ["lease-1"]
        assert ending.life.leaving
        assert ending.took is None, "the gateways have not said so yet"
        ending.registry.gateways = 11
        await ending.clock.advance(0.2)
        assert ending.took is not None


async def test_it_serves_on_a_little_for_watchers_that_are_no_gateways() -> None:
    registry = Registry()
    registry.gateways = 99
    ending = Ending(registry)
    async with owned("test") as tasks:
        tasks.start("join", ending.life.join(yes))
        await settle()
        tasks.start("end", ending.end())
        await ending.clock.advance(10)
    assert ending.took is not None
    assert LINGER <= ending.took < LINGER + 0.2


async def test_gateways_that_never_say_so_do_not_hold_up_the_end() -> None:
    ending = Ending(Registry())
    async with owned("test") as tasks:
        tasks.start("join", ending.life.join(yes))
        await settle()
        tasks.start("end", ending.end())
        await ending.clock.advance(60)
    assert ending.took is not None
    assert HEARD_WITHIN <= ending.took <= HEARD_WITHIN + 0.2


async def test_without_a_control_plane_it_serves_on_until_checks_have_noticed() -> None:
    ending = Ending(Registry())
    async with owned("test") as tasks:
        tasks.start("join", ending.life.join(yes))
        await settle()
        ending.registry.refuses = Unreachable("away")
        tasks.start("end", ending.end())
        await ending.clock.advance(60)
    assert ending.took is not None
    assert UNHEARD <= ending.took <= UNHEARD + 0.2


async def test_who_was_never_registered_ends_at_once() -> None:
    registry = Registry()
    registry.refuses = Unreachable("away")
    ending = Ending(registry)
    async with owned("test") as tasks:
        tasks.start("join", ending.life.join(yes))
        await ending.clock.advance(30)
        tasks.start("end", ending.end())
        await settle()
        assert ending.took == 0.0


async def test_requests_under_way_are_waited_for_but_not_for_ever() -> None:
    for done_after, took in ((3.0, 3.1), (None, DRAIN + LINGER)):
        registry = Registry()
        registry.gateways = 99
        ending = Ending(registry)
        ending.busy = 1
        async with owned("test") as tasks:
            tasks.start("join", ending.life.join(yes))
            await settle()
            tasks.start("end", ending.end())
            await ending.clock.advance(done_after or 0)
            ending.busy = 0 if done_after else 1
            await ending.clock.advance(60)
        assert ending.took is not None
        assert abs(ending.took - took) < 0.3


async def test_a_second_farewell_does_nothing() -> None:
    registry = Registry()
    registry.gateways = 99
    ending = Ending(registry)
    async with owned("test") as tasks:
        tasks.start("join", ending.life.join(yes))
        await settle()
        tasks.start("end", ending.end())
        await ending.clock.advance(5)
        await ending.end()
    assert ending.took == 0.0
    assert registry.left == ["lease-1"]


async def test_it_is_not_registered_before_it_is_ready() -> None:
    ending, open_ = Ending(Registry()), False

    async def ready() -> bool:
        return open_

    async with owned("test") as tasks:
        tasks.start("join", ending.life.join(ready))
        await ending.clock.advance(30)
        assert ending.registry.said == []
        open_ = True
        await ending.clock.advance(1)
        assert len(ending.registry.said) == 1


async def test_a_place_lost_to_another_process_is_remembered_and_not_given_up_for_the_other() -> None:
    ending = Ending(Registry())
    async with owned("test") as tasks:
        joining = tasks.start("join", ending.life.join(yes))
        await settle()
        ending.registry.once.append(LeaseConflict("newer"))
        await ending.clock.advance(10)
        assert joining.done()
        assert isinstance(ending.life.lost, LeaseConflict)
        await ending.end()
    assert ending.registry.left == []


async def test_a_process_that_a_node_started_says_nothing_to_the_registry() -> None:
    clock = FakeClock()
    life = Lifecycle(None, clock)
    await life.join(yes)
    await life.farewell()
    assert life.leaving
