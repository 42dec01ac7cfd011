"""Drills in the registry's history: an operator breaks an instance on purpose, and whoever looks later can tell.

Writes records only: no fact changes, so nothing acts upon them.
"""

from __future__ import annotations

from atoll.errors import NotFound
from atoll.model.answers import Verb
from atoll.model.names import InstanceId, ServiceName
from atoll.registry.registry import Registry
from atoll.store.base import Revision


async def note_drill(
    registry: Registry, service: ServiceName, instances: tuple[InstanceId, ...], what: str
) -> Revision:
    """Write down that a drill concerns these instances; none named: all of the service.

    Raises:
        NotFound: none of them is registered.
        StorageFull: nothing was written.
    """
    found = [one for one in registry.facts.of(service) if not instances or one.id in instances]
    if not found:
        raise NotFound(f"{service} has none of these instances", hint="`atoll ps` lists them", service=service)
    draft = registry.draft()
    for one in found:
        draft.operations.append(draft.journal.write(Verb.DRILL, one, draft.wall, cause=what))
    return await draft.commit(registry.store)
