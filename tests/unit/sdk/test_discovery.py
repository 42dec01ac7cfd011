"""A list of instances that outlives the control plane: F2, and what of a list may be used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from atoll.errors import AtollError, InvalidName, InvalidValue, NotReady, Stale, Unreachable
from atoll.kit.tasks import owned
from atoll.model.answers import Fact, FactChange, FactEvent, FactEventKind, FactPage
from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import Instance, State
from atoll.sdk.discovery import Endpoints, endpoints
from atoll.testing import FakeClock, settle


class Source:
    """Facts that a test changes; `away` refuses and cuts."""

    def __init__(self, *instances: Instance) -> None:
        self.instances = list(instances)
        self.away: AtollError | None = None
        self.asked: list[str] = []
        self.revision = 5
        self.clock = FakeClock()

    async def facts(self, prefixes: Sequence[str]) -> FactPage:
        self.asked.append("list")
        if self.away is not None:
            raise self.away
        return FactPage(self.revision, tuple(Fact(key_of(one), raw(one), 1) for one in self.instances))

    @asynccontextmanager
    async def changes(self, prefixes: Sequence[str], start: int) -> AsyncIterator[AsyncIterator[FactChange]]:
        self.asked.append(f"watch {start}")
        assert list(prefixes) == ["instances/payments/"]
        if self.away is not None:
            raise self.away
        yield self._marks(start - 1)

    async def _marks(self, told: int) -> AsyncIterator[FactChange]:
        while self.away is None:
            if self.revision > told:
                events = (FactEvent(FactEventKind.PUT, key_of(one), raw(one)) for one in self.instances)
                yield FactChange(self.revision, tuple(events))
                told = self.revision
            yield FactChange(self.revision)
            await self.clock.sleep(5)
        raise self.away


def key_of(one: Instance) -> str:
    return f"instances/{one.service}/{one.id}"


def raw(one: Instance) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(one))


def instance(name: str, state: State = State.PASSING, weight: int = 100) -> Instance:
    return Instance(
        service=ServiceName("payments"), id=InstanceId(name), host="127.0.0.1", port=9000, state=state, weight=weight
    )


def known(source: Source, *, max_stale: float | None = None) -> Endpoints:
    return Endpoints(ServiceName("payments"), source, source.clock, max_stale=max_stale)


def told(found: Endpoints) -> tuple[bool, AtollError | None]:
    return found.connected, found.trouble


def ids(found: Endpoints) -> list[str]:
    return [one.id for one in found.all()]


async def test_the_list_follows_the_registry() -> None:
    source = Source(instance("a"))
    found = known(source)
    async with owned("test") as tasks:
        tasks.start("follow", found.follow())
        await settle()
        assert ids(found) == ["a"]
        source.instances.append(instance("b"))
        source.revision = 6
        await source.clock.advance(5)
        assert ids(found) == ["a", "b"]
        assert found.connected
        assert (found.revision, found.age) == (6, 0.0)


async def test_ten_minutes_without_a_control_plane_leave_the_list_in_use_and_show_its_age() -> None:
    source = Source(instance("a"), instance("b"))
    found = known(source)
    async with owned("test") as tasks:
        tasks.start("follow", found.follow())
        await source.clock.advance(4)
        source.away = Unreachable("killed")
        await source.clock.advance(600)
        assert ids(found) == ["a", "b"]
        assert 600 <= found.age <= 605
        assert not found.connected
        assert isinstance(found.trouble, Unreachable)
        asked = len(source.asked)
        source.away = None
        await source.clock.advance(5)
        assert told(found) == (True, None)
        assert found.age <= 5
        assert source.asked[asked:] == ["watch 6"], "resumed by revision, not listed anew"


async def test_a_list_that_is_too_old_is_a_typed_error_with_its_age_and_fresh_again_when_heard() -> None:
    source = Source(instance("a"))
    found = known(source, max_stale=30)
    async with owned("test") as tasks:
        tasks.start("follow", found.follow())
        await source.clock.advance(1)
        source.away = Unreachable("killed")
        await source.clock.advance(28)
        assert ids(found) == ["a"]
        await source.clock.advance(10)
        with pytest.raises(Stale, match="30 s") as caught:
            found.all()
        assert 30 < caught.value.fields["age"] < 45
        source.away = None
        await source.clock.advance(5)
        assert ids(found) == ["a"]


async def test_nothing_heard_is_not_the_same_as_nobody_there() -> None:
    source = Source()
    source.away = Unreachable("down", hint="start it")
    found = known(source)
    async with owned("test") as tasks:
        tasks.start("follow", found.follow())
        await settle()
        with pytest.raises(NotReady, match="down"):
            found.all()
        with pytest.raises(NotReady):
            await found.ready(within=0)
        source.away = None
        await source.clock.advance(5)
        assert await found.ready() == ()


async def test_only_who_may_get_requests_is_listed() -> None:
    states = {state.value: state for state in State}
    source = Source(*(instance(name, state) for name, state in states.items()), instance("zero", weight=0))
    found = known(source)
    async with owned("test") as tasks:
        tasks.start("follow", found.follow())
        await settle()
        assert ids(found) == ["passing", "suspect"]


async def test_failing_ones_are_better_than_nobody() -> None:
    source = Source(instance("a", State.FAILING), instance("b", State.MAINT))
    found = known(source)
    async with owned("test") as tasks:
        tasks.start("follow", found.follow())
        await settle()
        assert ids(found) == ["a"]


@pytest.mark.parametrize("odd", [0, -1, float("nan")])
async def test_an_odd_max_stale_is_refused(odd: float) -> None:
    with pytest.raises(InvalidValue):
        async with endpoints("payments", max_stale=odd, environ={}):
            pass


async def test_an_odd_service_is_refused() -> None:
    with pytest.raises(InvalidName):
        async with endpoints("pay\nments", environ={}):
            pass
