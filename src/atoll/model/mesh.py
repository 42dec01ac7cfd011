"""Which stable mesh port a new service gets: the smallest offset that no service holds."""

from __future__ import annotations

from collections.abc import Iterable

from atoll.model.service import Service


def free_mesh_index(services: Iterable[Service]) -> int:
    """The smallest `mesh_index` that none of `services` has; give it once, then keep it while the service exists."""
    taken = {service.mesh_index for service in services}
    index = 0
    while index in taken:
        index += 1
    return index
