"""The registry's view of the facts: a snapshot, kept current by watching the store, with an index by endpoint.

One path in: every change, our own included, arrives through the watch, in order; a writer waits in `reached` until its
own commit has come round, so that it reads what it wrote. A record that cannot be read is quarantined and logged once.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import defaultdict

from atoll.errors import Compacted, Resync
from atoll.kit.logs import Log
from atoll.model.address import Endpoint
from atoll.model.keys import FACTS, HISTORY, INSTANCES, SERVICES, instance_key, service_key
from atoll.model.names import InstanceId, Key, ServiceName
from atoll.model.service import Instance, Mode
from atoll.model.snapshot import Snapshot
from atoll.registry.expiry import InstanceKey
from atoll.store.base import Change, Entry, EventKind, Expect, Revision, Store

PAGE = 1000
"""Entries read from the store at a time when everything is loaded."""
log = Log("registry")


class Facts:
    """Services, instances and routes as of `revision`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._order = itertools.count()
        self.stirred = asyncio.Event()
        """Set when something changed that may concern who leads; whoever looks clears it."""
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._start(Revision(0))

    def _start(self, revision: Revision) -> None:
        self.snapshot = Snapshot(revision)
        self.history_seen = 0
        """History records written since the start, by any control plane."""
        self._modified: dict[str, Revision] = {}
        self._at: dict[Endpoint, set[InstanceKey]] = defaultdict(set)
        self._of: dict[ServiceName, set[InstanceId]] = defaultdict(set)
        self.passive: set[ServiceName] = set()
        """Services of `mode: active-passive`."""
        self.stirred.set()

    @property
    def revision(self) -> int:
        """The revision this view stands at."""
        return self.snapshot.revision

    def modified(self, key: Key) -> Revision:
        """When a fact last changed; 0 when it does not exist."""
        return self._modified.get(key, Revision(0))

    def expect(self, key: Key) -> Expect:
        """The condition that a fact is still as this view has it."""
        return Expect(key, self.modified(key))

    def instance(self, key: InstanceKey) -> Instance | None:
        """One instance."""
        return self.snapshot.instances.get(key)

    def of(self, service: ServiceName) -> list[Instance]:
        """The instances of a service, by id."""
        return [self.snapshot.instances[service, instance] for instance in sorted(self._of.get(service, ()))]

    def at(self, endpoint: Endpoint) -> set[InstanceKey]:
        """Who is registered at an endpoint."""
        return set(self._at.get(endpoint, ()))

    def knows(self, service: ServiceName) -> bool:
        """Whether the service has a fact, readable or not."""
        return service_key(service) in self._modified

    async def load(self) -> None:
        """Read everything at one revision."""
        while True:
            try:
                await self._load()
            except Compacted:  # many writes went by meanwhile; the newest revision is as good
                continue
            return

    async def _load(self) -> None:
        revision: Revision | None = None
        entries: list[Entry] = []
        for prefix in FACTS:
            after: Key | None = None
            while True:
                page = await self._store.list(prefix, revision=revision, after=after, limit=PAGE)
                revision = page.revision
                entries.extend(page.entries)
                if not page.more:
                    break
                after = page.entries[-1].key
        self._start(revision if revision is not None else self._store.revision)
        for entry in entries:
            self._put(entry)
        self._wake()

    async def follow(self) -> None:
        """Keep the view current, for ever.

        Raises:
            StorageFailed: the store does not go on.
        """
        while True:
            try:
                async with self._store.watch("", start=Revision(self.revision + 1)) as changes:
                    async for change in changes:
                        self.apply(change)
            except (Resync, Compacted):
                await self.load()

    def apply(self, change: Change) -> None:
        """Take over one commit (or progress mark)."""
        for event in change.events:
            self._stir(event.entry.key)
            if event.kind is EventKind.DELETE:
                self._delete(event.entry.key)
            else:
                self._put(event.entry)
        self.snapshot.revision = max(self.snapshot.revision, change.revision)
        self._wake()

    def _stir(self, key: Key) -> None:
        kind, _, rest = key.partition("/")
        if f"{kind}/" == SERVICES or (f"{kind}/" == INSTANCES and ServiceName(rest.partition("/")[0]) in self.passive):
            self.stirred.set()

    async def reached(self, revision: Revision) -> None:
        """Wait until the view includes `revision`."""
        if revision > self.revision:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (revision, next(self._order), future))
            await future

    def _wake(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.revision:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    def _put(self, entry: Entry) -> None:
        if entry.key.startswith(HISTORY):
            self.history_seen += 1
            return
        if not entry.key.startswith(FACTS):
            return
        self._unlink(entry.key)
        self.snapshot.put(entry.key, entry.value)
        self._modified[entry.key] = entry.modified
        reason = self.snapshot.quarantined.get(entry.key)
        if reason is not None:
            log.error("a record cannot be read and was set aside", key=entry.key, reason=reason)
        if entry.key.startswith(SERVICES):
            name = ServiceName(entry.key.removeprefix(SERVICES))
            said = self.snapshot.services.get(name)
            self.passive.discard(name)
            if said is not None and said.mode is Mode.ACTIVE_PASSIVE:
                self.passive.add(name)
        if entry.key.startswith(INSTANCES) and reason is None:
            service, _, instance = entry.key.removeprefix(INSTANCES).partition("/")
            key = ServiceName(service), InstanceId(instance)
            found = self.snapshot.instances[key]
            self._at[Endpoint(found.host, found.port)].add(key)
            self._of[key[0]].add(key[1])

    def _delete(self, key: Key) -> None:
        if key.startswith(FACTS):
            self._unlink(key)
            self.snapshot.delete(key)
            self._modified.pop(key, None)
            self.passive.discard(ServiceName(key.removeprefix(SERVICES)))

    def _unlink(self, key: Key) -> None:
        """Forget an instance in the indexes."""
        if not key.startswith(INSTANCES):
            return
        service, _, instance = key.removeprefix(INSTANCES).partition("/")
        name = ServiceName(service), InstanceId(instance)
        found = self.snapshot.instances.get(name)
        if found is None:
            return
        where = Endpoint(found.host, found.port)
        self._at[where].discard(name)
        if not self._at[where]:
            del self._at[where]
        self._of[name[0]].discard(name[1])
        if not self._of[name[0]]:
            del self._of[name[0]]


def key_of(instance: Instance) -> InstanceKey:
    """How an instance is named."""
    return instance.service, instance.id


def store_key(key: InstanceKey) -> Key:
    """Where an instance stands in the store."""
    return instance_key(*key)
