"""Services and routes as facts: written, scaled, stopped, removed, and changed all together by a plan.

A service keeps its mesh index for as long as it exists; a new one gets the smallest that is free. What a project or an
operator wants of a node (replicas, stopped, restarts) is written here and made so by the node that watches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from atoll.errors import Conflict, InvalidValue, LimitReached, NotFound, StillInUse
from atoll.model.answers import Verb
from atoll.model.checked import checked_route, checked_service
from atoll.model.keys import ROUTES, SERVICES, route_key, service_key
from atoll.model.mesh import placed
from atoll.model.names import Key, RouteName, ServiceName
from atoll.model.route import Route
from atoll.model.service import Run, Service
from atoll.model.snapshot import Snapshot, decode
from atoll.registry.commit import Draft
from atoll.registry.facts import store_key
from atoll.registry.placement import within
from atoll.registry.registry import SERVICES_LOCK, Registry
from atoll.store.base import COMMIT_LIMIT, Delete, Put, Revision

TRIES = 8
Build = Callable[[Snapshot], Sequence[Put | Delete]]
"""Decides a commit from the facts; asked again when they changed meanwhile."""


class Catalog:
    """Services and routes, over the registry's view and locks."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._facts = registry.facts

    async def put_service(self, said: Service, *, modified: Revision | None = None) -> tuple[Service, Revision]:
        """Write a service; its mesh index is ours to give.

        Raises:
            InvalidName, InvalidValue: something in it is not as it must be.
            LimitReached: it is new and there is no room for it.
            Conflict: `modified` does not match.
        """
        wanted = checked_service(said)
        async with self._registry.locks.hold(SERVICES_LOCK):
            current = self._facts.snapshot.services.get(wanted.name)
            services = self._facts.snapshot.services
            if current is None:
                within(len(services), self._registry.service_limit)
            fact = placed(wanted, current, services.values())
            draft = self._registry.draft()
            if modified is not None:
                draft.require(service_key(wanted.name), modified)
            if fact == current:
                return fact, Revision(self._facts.revision)
            draft.define(service_key(wanted.name), current, fact)
            return fact, await draft.commit(self._registry.store)

    async def change_run(self, name: ServiceName, change: Callable[[Run], Run]) -> tuple[Service, Revision]:
        """Change what is wanted of the nodes that run a service: scale, stop, start, restart.

        Raises:
            NotFound: there is no such service.
            InvalidValue: atoll does not run it, or the change asks for what cannot be.
        """

        def changed(current: Service) -> Service:
            if current.run is None:
                raise InvalidValue(
                    f"{name} is not run by atoll: its instances register themselves",
                    hint="start and stop it where it runs",
                    field="run",
                )
            return msgspec.structs.replace(current, run=change(current.run))

        return await self.change_service(name, changed)

    async def change_service(self, name: ServiceName, change: Callable[[Service], Service]) -> tuple[Service, Revision]:
        """Change what is said of a service; asked again when somebody else changed it meanwhile.

        Raises:
            NotFound: there is no such service.
            InvalidValue: the change asks for what cannot be.
        """
        for attempt in range(TRIES):
            current = self._facts.snapshot.services.get(name)
            if current is None:
                raise unknown_service(name)
            wanted = checked_service(change(current))
            draft = self._registry.draft()
            draft.define(service_key(name), current, wanted)
            try:
                return wanted, await draft.commit(self._registry.store)
            except Conflict:
                if attempt == TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def delete_service(
        self, name: ServiceName, *, force: bool = False, modified: Revision | None = None
    ) -> Revision:
        """Remove a service; with `force`, its instances as well.

        Raises:
            NotFound: there is no such service.
            StillInUse: it has instances (without `force`), or a route leads to it.
            Conflict: `modified` does not match.
        """
        while True:
            keys = [store_key((name, instance.id)) for instance in self._facts.of(name)]
            async with self._registry.locks.hold(SERVICES_LOCK, *keys):
                instances = self._facts.of(name)
                if {store_key((name, instance.id)) for instance in instances} - set(keys):
                    continue
                if not self._facts.knows(name):
                    raise unknown_service(name)
                routes = [route.name for route in self._facts.snapshot.routes.values() if leads_to(route, name)]
                if routes:
                    raise StillInUse(
                        f"route {min(routes)} leads to {name}",
                        hint="change or delete that route first",
                        routes=sorted(routes),
                    )
                if instances and not force:
                    raise StillInUse(
                        f"{name} has {len(instances)} instances",
                        hint="deregister them first, or delete with force=true",
                        instances=[instance.id for instance in instances][:100],
                    )
                if 2 * len(instances) >= COMMIT_LIMIT:
                    raise LimitReached(
                        f"{len(instances)} instances are too many for one commit", hint="deregister some"
                    )
                draft = self._registry.draft()
                if modified is not None:
                    draft.require(service_key(name), modified)
                draft.delete(service_key(name))
                for instance in instances:
                    draft.remove(Verb.DEREGISTERED, instance, cause="its service was deleted")
                revision = await draft.commit(self._registry.store)
                for instance in instances:
                    self._registry.gone(instance, "its service was deleted")
                return revision

    async def put_route(
        self, said: Route, refuse: Callable[[Route, Snapshot], None], *, modified: Revision | None = None
    ) -> tuple[Route, Revision, bool]:
        """Write a route, unless `refuse` raises; tells also whether it is new.

        Raises:
            InvalidName, InvalidValue: something in it is not as it must be.
            Conflict: `modified` does not match.
        """
        wanted = checked_route(said)
        async with self._registry.locks.hold(SERVICES_LOCK):
            refuse(wanted, self._facts.snapshot)
            current = self._facts.snapshot.routes.get(wanted.name)
            draft = self._registry.draft()
            if modified is not None:
                draft.require(route_key(wanted.name), modified)
            if wanted == current:
                return wanted, Revision(self._facts.revision), False
            draft.define(route_key(wanted.name), current, wanted)
            return wanted, await draft.commit(self._registry.store), current is None

    async def change_route(self, name: RouteName, change: Callable[[Route], Route]) -> tuple[Route, Revision]:
        """Change what is said of a route, but not where it leads.

        Raises:
            NotFound: there is no such route.
            InvalidValue: the change asks for what cannot be.
        """
        current = self._facts.snapshot.routes.get(name)
        if current is None:
            raise NotFound(f"there is no route {name}", hint="GET /api/v1/routes lists them")
        wanted = change(current)
        route, revision, _ = await self.put_route(
            wanted, lambda _route, _facts: None, modified=self._facts.modified(route_key(name))
        )
        return route, revision

    async def delete_route(self, name: RouteName, *, modified: Revision | None = None) -> Revision:
        """Remove a route.

        Raises:
            NotFound: there is no such route.
            Conflict: `modified` does not match.
        """
        async with self._registry.locks.hold(SERVICES_LOCK):
            if not self._facts.modified(route_key(name)):
                raise NotFound(f"there is no route {name}", hint="GET /api/v1/routes lists them")
            draft = self._registry.draft()
            if modified is not None:
                draft.require(route_key(name), modified)
            known = self._facts.snapshot.routes.get(name)
            if known is None:
                draft.delete(route_key(name))  # one that cannot be read
            else:
                draft.forget(route_key(name), known)
            return await draft.commit(self._registry.store)

    async def apply(self, build: Build) -> Revision:
        """Do what `build` decides as one commit, on the condition that no fact it touches changed meanwhile.

        Raises:
            LimitReached: it would be more services than there may be.
            InvalidValue: more than one commit can hold.
            Conflict: the facts kept changing.
        """
        async with self._registry.locks.hold(SERVICES_LOCK):
            for attempt in range(TRIES):
                draft = self._registry.draft()
                count = len(self._facts.snapshot.services)
                for operation in build(self._facts.snapshot):
                    if isinstance(operation, Put):
                        if operation.key.startswith(SERVICES) and not self._facts.modified(operation.key):
                            within(count, self._registry.service_limit)
                            count += 1
                        self._define(draft, operation)
                    else:
                        self._forget(draft, operation.key)
                try:
                    return await draft.commit(self._registry.store)
                except Conflict:
                    if attempt == TRIES - 1:
                        raise
        raise AssertionError("unreachable")

    def _define(self, draft: Draft, operation: Put) -> None:
        facts = self._facts.snapshot
        if operation.key.startswith(SERVICES):
            service = decode(operation.value, Service)
            draft.define(operation.key, facts.services.get(service.name), service)
        else:
            route = decode(operation.value, Route)
            draft.define(operation.key, facts.routes.get(route.name), route)

    def _forget(self, draft: Draft, key: Key) -> None:
        route = self._facts.snapshot.routes.get(RouteName(key.removeprefix(ROUTES)))
        if key.startswith(ROUTES) and route is not None:
            draft.forget(key, route)
        else:
            draft.delete(key)


def leads_to(route: Route, service: ServiceName) -> bool:
    """Whether a share of the route's traffic goes to the service."""
    return any(share.service == service for share in route.shares)


def unknown_service(name: ServiceName) -> NotFound:
    """The error that there is no such service."""
    return NotFound(f"there is no service {name}", hint="GET /api/v1/services lists them", service=name)
