from __future__ import annotations

import random

from atoll.errors import LeaseConflict, Unreachable
from atoll.kit.tasks import owned
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.model.service import State
from atoll.supervisor.membership import Membership
from atoll.supervisor.news import News
from atoll.supervisor.outside import Held
from atoll.testing import FakeClock, settle


class Registry:
    """Answers as told and remembers the leases it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.marks: list[State] = []
        self.away = False
        self.conflict = False
        self.goodbyes = 0
        self.deaf = 0
        """Goodbyes that find nobody."""
        self.state = State.PASSING

    async def register(self, service: ServiceName, instance: InstanceId, said: Registration) -> Held:
        self.shown.append(said.lease)
        if self.away:
            raise Unreachable("away\n\x1b[0m")
        if self.conflict and said.lease:
            raise LeaseConflict("newer")
        return Held(f"lease-{len(self.shown)}", 5.0, self.state)

    async def mark(self, service: ServiceName, instance: InstanceId, state: State, cause: str) -> None:
        self.marks.append(state)

    async def deregister(self, service: ServiceName, instance: InstanceId, lease: str) -> None:
        self.goodbyes += 1
        if self.goodbyes <= self.deaf:
            raise ConnectionRefusedError("gone")
        if self.conflict:
            raise LeaseConflict("newer")


def member(registry: Registry, clock: FakeClock) -> Membership:
    return Membership(ServiceName("web"), InstanceId("web-1"), registry, clock, random.Random(3), changed=lambda: None)


def said() -> Registration:
    return Registration(port=9000)


async def test_a_registration_is_renewed_in_time_with_the_lease_it_got() -> None:
    clock, registry = FakeClock(), Registry()
    one = member(registry, clock)
    async with owned("test") as tasks:
        tasks.start("keep", one.keep(said, fresh=True))
        await clock.advance(60)
    assert one.registered
    assert registry.shown[:3] == ["", "lease-1", "lease-2"]
    assert 60 / 6 <= len(registry.shown) - 1 <= 60 / 4


async def test_a_control_plane_that_is_away_is_asked_again_but_not_hammered() -> None:
    clock, registry = FakeClock(), Registry()
    registry.away = True
    one = member(registry, clock)
    async with owned("test") as tasks:
        tasks.start("keep", one.keep(said, fresh=True))
        await clock.advance(60)
        troubled = (one.registered, one.trouble)
        assert 12 < len(registry.shown) < 120
        registry.away = False
        await clock.advance(5)
    assert troubled == (False, "away\\n\\x1b[0m")
    assert (one.registered, one.trouble) == (True, "")


async def test_a_lost_lease_is_taken_back_because_the_process_is_ours() -> None:
    clock, registry = FakeClock(), Registry()
    registry.conflict = True
    one = member(registry, clock)
    async with owned("test") as tasks:
        tasks.start("keep", one.keep(said, fresh=True))
        await clock.advance(6)
    assert registry.shown[:3] == ["", "lease-1", ""]


async def test_only_a_new_process_clears_an_older_drain_mark() -> None:
    for fresh, marks in ((True, [State.PASSING]), (False, [])):
        clock, registry = FakeClock(), Registry()
        registry.state = State.DRAINING
        async with owned("test") as tasks:
            tasks.start("keep", member(registry, clock).keep(said, fresh=fresh))
            await settle()
        assert registry.marks == marks


async def leave(registry: Registry) -> Membership:
    clock = FakeClock()
    one = member(registry, clock)
    async with owned("test") as tasks:
        leaving = tasks.start("leave", one.leave())
        for _ in range(100):
            await clock.advance(0.03)
        assert leaving.done()
    return one


async def test_leaving_never_fails_and_takes_no_longer_than_it_may() -> None:
    registry = Registry()
    registry.deaf = 1000
    assert (await leave(registry)).trouble == "gone"
    assert 4 <= registry.goodbyes <= 40


async def test_a_goodbye_reaches_a_control_plane_that_is_back_in_a_moment() -> None:
    registry = Registry()
    registry.deaf = 3
    await leave(registry)
    assert registry.goodbyes == 4


async def test_a_goodbye_that_was_refused_is_not_said_again() -> None:
    registry = Registry()
    registry.conflict = True
    await leave(registry)
    assert registry.goodbyes == 1


async def test_news_end_a_wait_and_time_does_too() -> None:
    clock = FakeClock()
    news = News(clock)
    async with owned("test") as tasks:
        waiting = tasks.start("wait", news.within(5))
        await clock.advance(4.9)
        assert not waiting.done()
        await clock.advance(0.2)
        assert await waiting is False
        waiting = tasks.start("wait", news.within(5))
        await settle()
        news.tell()
        assert await waiting is True
        late = tasks.start("late", news.within(5))
        await settle()
        assert not late.done()  # news are heard once
