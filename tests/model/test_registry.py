"""Any sequence of registrations, renewals, removals, pauses, restarts and time, against what the registry promises."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.model.answers import Registered
from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import State
from atoll.model.snapshot import Snapshot
from atoll.registry.history import replay
from atoll.store.memory import open_memory
from atoll.testing import FakeClock
from tests.unit.registry.stage import Stage, staged

SERVICES, IDS, PORTS = ["orders", "web"], ["a", "b", "c"], [9001, 9002, 9003, 9004]
who = st.tuples(st.sampled_from(SERVICES), st.sampled_from(IDS))
steps = st.one_of(
    st.tuples(st.just("register"), who, st.sampled_from(PORTS)),
    st.tuples(st.just("renew"), who, st.just(0)),
    st.tuples(st.just("stale"), who, st.just(0)),
    st.tuples(st.just("deregister"), who, st.just(0)),
    st.tuples(st.just("drain"), who, st.just(0)),
    st.tuples(st.just("passing"), who, st.just(0)),
    st.tuples(st.just("check"), who, st.integers(0, 1)),
    st.tuples(st.just("time"), who, st.integers(1, 40)),
    st.tuples(st.just("stall"), who, st.integers(5, 100)),
    st.tuples(st.just("restart"), who, st.just(0)),
)
Step = tuple[str, tuple[str, str], int]


@dataclass
class World:
    """The model: who holds which lease and when it was last renewed, in time that the registry could listen."""

    stage: Stage
    held: dict[tuple[str, str], Registered] = field(default_factory=dict)
    old: dict[tuple[str, str], Registered] = field(default_factory=dict)
    renewed: dict[tuple[str, str], float] = field(default_factory=dict)
    listened: float = 0.0

    async def step(self, verb: str, key: tuple[str, str], number: int) -> None:
        service, instance = ServiceName(key[0]), InstanceId(key[1])
        registry, clock = self.stage.registry, self.stage.clock
        if verb == "register":
            if key in self.held:
                self.old[key] = self.held[key]
            self.held[key] = await self.stage.register(*key, number)
            self.renewed[key] = self.listened
        elif verb == "renew" and key in self.held:
            await self.stage.renew(self.held[key])
            self.renewed[key] = self.listened
        elif verb == "stale" and key in self.old and key in self.held and self.old[key].lease != self.held[key].lease:
            before = registry.facts.instance((service, instance))
            try:
                await registry.deregister(service, instance, lease=self.old[key].lease)
            except AtollError:
                pass
            else:
                raise AssertionError("an older lease removed a newer registration")
            assert registry.facts.instance((service, instance)) == before
        elif verb == "deregister":
            await registry.deregister(service, instance)
            self.renewed.pop(key, None)
        elif verb in {"drain", "passing"}:
            state = State.DRAINING if verb == "drain" else State.PASSING
            await registry.set_state(service, instance, state)
        elif verb == "check":
            await self.stage.report((*key, bool(number)))
        elif verb == "time":
            await clock.advance(number)
            self.listened += number
        elif verb == "stall":
            clock._move_to(clock.now() + number)
            await clock.advance(0)

    def check(self, verb: str, before: dict[str, set[str]]) -> None:
        facts = self.stage.registry.facts
        instances = facts.snapshot.instances.values()
        endpoints = [(one.host, one.port) for one in instances]
        assert len(endpoints) == len(set(endpoints)), "two instances at one endpoint"
        indexes = [service.mesh_index for service in facts.snapshot.services.values()]
        assert len(indexes) == len(set(indexes)), "two services on one mesh port"
        assert {one.service for one in instances} <= set(facts.snapshot.services), "an instance without a service"
        if verb in {"time", "stall"}:
            after = self.members()
            for service, members in before.items():
                assert after.get(service), f"time emptied {service}"
                for gone in members - after[service]:
                    since = self.listened - self.renewed[service, gone]
                    assert since >= 15, f"{service}/{gone} expired {since} s after its renewal"

    def members(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for service, instance in self.stage.registry.facts.snapshot.instances:
            found.setdefault(service, set()).add(instance)
        return found

    async def agree(self) -> None:
        """The view, the store and the end of the history say the same."""
        store, facts = self.stage.store, self.stage.registry.facts
        entries = [entry for prefix in ("services/", "instances/") for entry in (await store.list(prefix)).entries]
        stored = Snapshot.load(store.revision, [(entry.key, entry.value) for entry in entries])
        assert stored.instances == facts.snapshot.instances
        assert stored.services == facts.snapshot.services
        for service in facts.snapshot.services:
            records = await self.stage.history(service)
            told = {one.instance: (one.endpoint, one.state) for one in replay(records, 1e11)}
            known = {
                one.id: (f"{one.host}:{one.port}", one.state)
                for one in facts.of(service)
                if one.state in {State.PASSING, State.SUSPECT}
            }
            assert told == known


async def live(script: list[Step]) -> None:
    clock = FakeClock()
    async with open_memory(clock=clock) as store:
        stack = AsyncExitStack()
        world = World(await stack.enter_async_context(staged(clock=clock, store=store)))
        try:
            for verb, key, number in script:
                before = world.members()
                if verb == "restart":
                    await stack.aclose()
                    said = world.stage.said
                    world.stage = await stack.enter_async_context(staged(clock=clock, store=store))
                    world.stage.said = said
                    for found in world.renewed:
                        world.renewed[found] = world.listened
                try:
                    await world.step(verb, key, number)
                except AtollError as error:
                    assert error.status < 500, error.detail
                world.check(verb, before)
            await world.agree()
        finally:
            await stack.aclose()


@settings(max_examples=40)
@given(st.lists(steps, min_size=5, max_size=40))
def test_whatever_happens_the_registry_keeps_its_promises(script: list[Step]) -> None:
    asyncio.run(live(script))
