"""Which mesh port a new service gets, within the range that the gateway listens on."""

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
        LimitReached: `limit` services have one already.
    """
    return within(free_mesh_index(services), limit)


def within(index: int, limit: int) -> int:
    """A mesh index that has a port.

    Raises:
        LimitReached: it lies outside the range.
    """
    if index >= limit:
        raise LimitReached(
            f"there are {limit} services already, and each has a port of its own on the mesh",
            hint="raise ATOLL_GATEWAY_MESH_COUNT and restart, or delete services that are not used",
            limit=limit,
        )
    return index


def new_service(snapshot: Snapshot, name: ServiceName, protocol: Protocol, limit: int) -> Service:
    """The service that comes into being with its first instance.

    Raises:
        LimitReached: no mesh index is free.
    """
    return Service(name=name, protocol=protocol, mesh_index=mesh_index(snapshot.services.values(), limit))
