"""Which stable mesh port a new service gets, and each of its calls: the smallest offset that nobody holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from atoll.model.names import ServiceName
from atoll.model.policy import Call
from atoll.model.service import Service


def placed(said: Service, current: Service | None, services: Iterable[Service]) -> Service:
    """`said` with offsets for itself and its calls: those that `current` (the same service, as it is) has, else free ones.

    Give an offset once, then keep it while the service, or the call, exists.
    """
    others = [each for each in services if each.name != said.name]
    free = _free(others if current is None else [*others, current])
    index = next(free) if current is None else current.mesh_index
    known: Mapping[ServiceName, Call] = {} if current is None else current.calls
    calls = {
        name: msgspec.structs.replace(call, mesh_index=known[name].mesh_index if name in known else next(free))
        for name, call in said.calls.items()
    }
    return msgspec.structs.replace(said, mesh_index=index, calls=calls)


def free_mesh_index(services: Iterable[Service]) -> int:
    """The smallest offset that neither a service nor a call has."""
    return next(_free(services))


def _free(services: Iterable[Service]) -> Iterator[int]:
    taken = {
        index for each in services for index in (each.mesh_index, *(call.mesh_index for call in each.calls.values()))
    }
    return (index for index in itertools.count() if index not in taken)
