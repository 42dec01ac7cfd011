"""Which place on the mesh a new service gets, and how many services there may be.

A node has a port of its own for the first `gateway.mesh_count` places; services beyond are reached by name only.
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.errors import LimitReached
from atoll.model.mesh import free_mesh_index
from atoll.model.names import ServiceName
from atoll.model.service import Protocol, Service
from atoll.model.snapshot import Snapshot


def mesh_index(services: Iterable[Service], limit: int) -> int:
    """The mesh index of a new service.

    Raises:
        LimitReached: there are `limit` services already.
    """
    return within(free_mesh_index(services), limit)


def within(index: int, limit: int) -> int:
    """A mesh index within the number of services.

    Raises:
        LimitReached: it lies beyond.
    """
    if index >= limit:
        raise LimitReached(
            f"there are {limit} services already",
            hint="delete services that are not used, or raise ATOLL_REGISTRY_SERVICES and restart",
            limit=limit,
        )
    return index


def new_service(snapshot: Snapshot, name: ServiceName, protocol: Protocol, limit: int) -> Service:
    """The service that comes into being with its first instance.

    Raises:
        LimitReached: there are `limit` services already.
    """
    return Service(name=name, protocol=protocol, mesh_index=mesh_index(snapshot.services.values(), limit))
