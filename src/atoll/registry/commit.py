"""One commit of the registry: operations gathered, each on the condition that its fact is still as it was read."""

from __future__ import annotations

from dataclasses import dataclass, field

from atoll.errors import Conflict
from atoll.model.answers import Verb
from atoll.model.difference import told
from atoll.model.keys import instance_key
from atoll.model.names import Key
from atoll.model.route import Route
from atoll.model.service import Instance, Service
from atoll.model.snapshot import encode
from atoll.registry.breakers import recorded, words_said
from atoll.registry.facts import Facts
from atoll.registry.history import Journal
from atoll.store.base import Delete, Expect, Put, Revision, Store


@dataclass
class Draft:
    """A commit in the making."""

    facts: Facts
    journal: Journal
    wall: float
    operations: list[Put | Delete] = field(default_factory=list)
    expect: dict[Key, Expect] = field(default_factory=dict)

    def put(self, key: Key, value: bytes) -> None:
        """Set a fact, if it is still as read."""
        self.operations.append(Put(key, value))
        self.require(key)

    def delete(self, key: Key) -> None:
        """Remove a fact, if it is still as read."""
        self.operations.append(Delete(key))
        self.require(key)

    def require(self, key: Key, modified: Revision | None = None) -> None:
        """Only if the fact is as the view has it, and (when given) was last changed at `modified`.

        Raises:
            Conflict: the view already shows that it was not.
        """
        expect = self.facts.expect(key)
        if modified is not None and modified != expect.modified:
            raise Conflict(
                f"{key} was changed at revision {expect.modified}, not at {modified}",
                hint="read it again, then decide anew",
                key=key,
                modified=expect.modified,
            )
        self.expect[key] = expect

    def change(self, verb: Verb, instance: Instance, *, cause: str = "") -> None:
        """Write an instance and tell the history."""
        self.put(instance_key(instance.service, instance.id), encode(instance))
        self.operations.append(self.journal.write(verb, instance, self.wall, cause=cause))

    def note(self, verb: Verb, instance: Instance, *, cause: str) -> None:
        """Tell the history of something that changes nothing in the instance's own fact."""
        self.operations.append(self.journal.write(verb, instance, self.wall, cause=cause))

    def remove(self, verb: Verb, instance: Instance, *, cause: str) -> None:
        """Delete an instance and tell the history."""
        self.delete(instance_key(instance.service, instance.id))
        self.operations.append(self.journal.write(verb, instance, self.wall, cause=cause, gone=True))

    def define(self, key: Key, before: Service | Route | None, after: Service | Route) -> None:
        """Write a service or a route, and tell the history of the services concerned what changed."""
        self.put(key, encode(after))
        changed = told(before, after) if before is not None else ""
        if changed:
            self._tell(after, changed)
        self.operations += map(recorded, words_said(before, after))

    def forget(self, key: Key, before: Route) -> None:
        """Delete a route, and tell the history of its services."""
        self.delete(key)
        self._tell(before, "removed")

    def _tell(self, fact: Service | Route, what: str) -> None:
        name = f"route {fact.name}: " if isinstance(fact, Route) else ""
        services = {share.service for share in fact.shares} if isinstance(fact, Route) else {fact.name}
        for service in sorted(services):
            self.operations.append(self.journal.tell(Verb.DEFINED, service, self.wall, cause=f"{name}{what}"))

    async def commit(self, store: Store) -> Revision:
        """Do it, and wait until the view shows it.

        Raises:
            Conflict: a fact changed meanwhile; the view shows the change when this is raised.
            StorageFull: nothing was done.
        """
        if not self.operations:
            return Revision(self.facts.revision)
        try:
            revision = await store.commit(self.operations, expect=list(self.expect.values()))
        except Conflict:
            await self.facts.reached(store.revision)
            raise
        await self.facts.reached(revision)
        return revision
