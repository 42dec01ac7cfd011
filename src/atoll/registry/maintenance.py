"""Words of maintenance: said, taken back, ended by time. What they cover follows at once, and at every look at the leases.

A word and what it does to each instance are separate commits: a word over thousands of instances is still one fact.
"""

from __future__ import annotations

import msgspec

from atoll.errors import Conflict, LimitReached, NotFound, StorageFull
from atoll.kit.logs import Log
from atoll.model.keys import maintenance_key
from atoll.model.maintenance import Maintenance, Target, checked_maintenance, parse_target
from atoll.model.snapshot import encode
from atoll.registry.catalog import unknown_service
from atoll.registry.expiry import InstanceKey
from atoll.registry.registry import Registry
from atoll.store.base import Revision

LIMIT = 1000
"""Words at once."""
log = Log("registry")


async def begin(registry: Registry, said: Maintenance) -> tuple[Maintenance, Revision]:
    """Take what `said` is about out of the traffic; said again, its reason and end are replaced.

    Raises:
        InvalidName, InvalidValue: something in it is not as it must be.
        NotFound: there is no such service.
        LimitReached: there are LIMIT words already.
        Conflict: somebody else changed the same word meanwhile.
    """
    word = checked_maintenance(said)
    target = parse_target(word.target)
    if target.service is not None and not registry.facts.knows(target.service):
        raise unknown_service(target.service)
    key = maintenance_key(target)
    async with registry.locks.hold(key):
        current = registry.facts.snapshot.maintenance.get(key)
        if current is None and len(registry.facts.snapshot.maintenance) >= LIMIT:
            raise LimitReached(
                f"{LIMIT} words of maintenance are in force", hint="end those that are over", limit=LIMIT
            )
        if current is not None:
            word = msgspec.structs.replace(word, since=current.since)
        draft = registry.draft()
        draft.put(key, encode(word))
        revision = await draft.commit(registry.store)
    await _settle(registry, target)
    return word, max(revision, Revision(registry.facts.revision))


async def end(registry: Registry, target: Target) -> Revision:
    """Take a word back.

    Raises:
        NotFound: nothing was said of this target.
        Conflict: somebody else changed the word meanwhile.
    """
    key = maintenance_key(target)
    async with registry.locks.hold(key):
        if not registry.facts.modified(key):
            raise NotFound(f"{target} is not in maintenance", hint="GET /api/v1/maintenance lists what is")
        draft = registry.draft()
        draft.delete(key)
        revision = await draft.commit(registry.store)
    await _settle(registry, target)
    return max(revision, Revision(registry.facts.revision))


async def end_lapsed(registry: Registry, wall: float) -> None:
    """Remove the words whose time is over, and those about services that are gone."""
    for word in list(registry.facts.snapshot.maintenance.values()):
        target = parse_target(word.target)
        lost = target.service is not None and not registry.facts.knows(target.service)
        if lost or not word.holds(wall):
            try:
                await end(registry, target)
            except (NotFound, Conflict):
                continue
            log.info("maintenance is over", target=word.target, reason=word.reason)


async def _settle(registry: Registry, target: Target) -> None:
    covered: list[InstanceKey] = [
        key for key, instance in registry.facts.snapshot.instances.items() if target.covers(instance)
    ]
    try:
        await registry.settle(covered)
    except (StorageFull, Conflict) as error:
        log.warning("maintenance follows at the next look", target=str(target), reason=error.code)
