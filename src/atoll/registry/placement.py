"""Which place on the mesh a new service gets, and how many services there may be.

A node has a port of its own for the first `gateway.mesh_count` places; services beyond are reached by name only.
"""

from __future__ import annotations

from atoll.errors import LimitReached
from atoll.model.mesh import placed
from atoll.model.names import ServiceName
from atoll.model.service import Protocol, Service
from atoll.model.snapshot import Snapshot


def within(count: int, limit: int) -> None:
    """Refuse one service more than `limit`, when `count` are there.

    Raises:
        LimitReached: there are `limit` services already.
    """
    if count >= limit:
        raise LimitReached(
            f"there are {limit} services already",
            hint="delete services that are not used, or raise ATOLL_REGISTRY_SERVICES and restart",
            limit=limit,
        )


def new_service(snapshot: Snapshot, name: ServiceName, protocol: Protocol, limit: int) -> Service:
    """The service that comes into being with its first instance.

    Raises:
        LimitReached: there are `limit` services already.
    """
    within(len(snapshot.services), limit)
    return placed(Service(name=name, protocol=protocol), None, snapshot.services.values())
