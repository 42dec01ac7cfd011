"""A registry over a store in memory, with time in the test's hand."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from atoll import settings
from atoll.model.answers import Record, Registered
from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.registration import Registration
from atoll.model.report import NodeReport, ServerReport
from atoll.model.service import Instance, State
from atoll.registry.archive import Archive
from atoll.registry.catalog import Catalog
from atoll.registry.listeners import Listener, Listeners
from atoll.registry.registry import Registry
from atoll.registry.sweep import running
from atoll.store.base import Store
from atoll.store.memory import open_memory
from atoll.testing import FakeClock

OURS = Listeners(
    own=(
        Listener("control API", "127.0.0.1", 7070),
        Listener("gateway", "0.0.0.0", 8080),
        Listener("mesh", "127.0.0.1", 15100, 256),
    ),
    local=frozenset({"10.1.2.3"}),
)


@dataclass
class Stage:
    clock: FakeClock
    store: Store
    registry: Registry
    catalog: Catalog
    archive: Archive
    said: dict[tuple[str, str], Registration] = field(default_factory=dict)

    async def register(
        self, service: str, instance: str, port: int = 9001, *, lease: str = "", **said: object
    ) -> Registered:
        body = msgspec.convert({"port": port, "lease": lease, **said}, Registration)
        self.said[service, instance] = body
        return (await self.registry.register(ServiceName(service), InstanceId(instance), body))[0]

    async def renew(self, *held: Registered) -> None:
        """Renew exactly as a client does: the whole registration and its lease."""
        for one in held:
            found = one.instance
            body = msgspec.structs.replace(self.said[found.service, found.id], lease=one.lease)
            await self.registry.register(found.service, found.id, body)

    async def pass_time(self, seconds: float, *renewing: Registered) -> None:
        """Let time go by in steps of 2.5 s, while some renew."""
        whole, rest = divmod(seconds, 2.5)
        for step in [2.5] * int(whole) + [rest]:
            await self.clock.advance(step)
            await self.renew(*renewing)

    def find(self, service: str, instance: str) -> Instance | None:
        return self.registry.facts.instance((ServiceName(service), InstanceId(instance)))

    def state(self, service: str, instance: str) -> State | None:
        found = self.find(service, instance)
        return found.state if found else None

    async def history(self, service: str) -> list[Record]:
        found = await self.archive.query(ServiceName(service), since=0, until=1e11, limit=1000)
        return list(found.records)

    async def verbs(self, service: str) -> list[str]:
        return [f"{record.instance} {record.verb.value}" for record in await self.history(service)]

    async def report(self, *servers: tuple[str, str, bool], node: str = "n1", cause: str = "L4CON: refused") -> None:
        found = tuple(
            ServerReport(service=ServiceName(service), instance=InstanceId(instance), up=up, cause="" if up else cause)
            for service, instance, up in servers
        )
        await self.registry.report(NodeReport(node=NodeName(node), servers=found))


@asynccontextmanager
async def staged(
    *,
    clock: FakeClock | None = None,
    store: Store | None = None,
    knobs: settings.Registry | None = None,
    service_limit: int = 256,
) -> AsyncIterator[Stage]:
    """A running registry; with `store`, over one that is open already (a restart)."""
    time = clock or FakeClock()
    if store is None:
        async with (
            open_memory(clock=time) as fresh,
            staged(clock=time, store=fresh, knobs=knobs, service_limit=service_limit) as stage,
        ):
            yield stage
        return
    tokens = (f"lease-{number}" for number in itertools.count(1))
    chosen = knobs or settings.Registry()
    registry = Registry(
        store,
        time,
        chosen,
        service_limit=service_limit,
        listeners=OURS,
        make_token=lambda: f"{id(registry):x}-{next(tokens)}",
    )
    archive = Archive(store, chosen)
    async with running(registry, archive):
        yield Stage(time, store, registry, Catalog(registry), archive)


@asynccontextmanager
async def open_memory_at(clock: FakeClock) -> AsyncIterator[Store]:
    """A store that outlives the registries over it."""
    async with open_memory(clock=clock) as store:
        yield store
