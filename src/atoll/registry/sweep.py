"""The registry's own tasks: follow the facts, look at the leases, prune the history. And the watch over its own lag."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from atoll.errors import AtollError, Conflict, Overloaded, StorageFull
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.model.answers import Verb
from atoll.model.names import ServiceName
from atoll.registry import leadership
from atoll.registry.archive import Archive
from atoll.registry.expiry import GLOBAL, Hold, InstanceKey, Rules, decide
from atoll.registry.facts import store_key
from atoll.registry.faults import forget_faults
from atoll.registry.maintenance import end_lapsed
from atoll.registry.registry import Registry
from atoll.registry.stalls import STEP

CHUNK = 500
"""Instances that expire in one commit."""
PRUNE_INTERVAL = 600.0
"""Seconds between two looks at the length of the history."""
log = Log("registry")


@asynccontextmanager
async def running(registry: Registry, archive: Archive) -> AsyncIterator[None]:
    """Load the facts and keep the registry going for the length of the block.

    Raises:
        ExceptionGroup: one of its tasks failed (the store's disk, as a rule); the process must end.
    """
    await registry.load()
    registry.journal.follow(await archive.newest())
    async with owned("registry") as tasks:
        tasks.start("follow", registry.facts.follow())
        tasks.start("leaders", leadership.running(registry))
        tasks.start("prune", _prune(registry, archive))
        tasks.start("sweep", _sweep(registry))
        yield


async def _sweep(registry: Registry) -> None:
    clock, interval = registry.clock, registry.knobs.sweep
    swept = clock.now()
    while True:
        slept_from, planned = clock.now(), min(STEP, interval)
        await clock.sleep(planned)
        now = clock.now()
        if registry.meter.woke(slept_from, planned, now):
            log.warning("the control plane could not listen; every lease is credited", seconds=now - slept_from)
        if now - swept >= interval:
            swept = now
            await sweep(registry)


async def sweep(registry: Registry) -> None:
    """One look at the leases: expire who may go, note who became suspect or failing, log holds that came or went.

    Injected faults that are over are forgotten as well.
    """
    now, instances = registry.clock.now(), registry.facts.snapshot.instances
    registry.leases.follow(instances.values(), now)
    knobs = registry.knobs
    rules = Rules(hold_share=knobs.hold_share, global_share=knobs.global_share, hold_limit=knobs.hold_limit)
    before = registry.verdict
    held = registry.leases.population(instances.values())
    registry.verdict = decide(held, now, registry.meter.stalls, before, rules)
    registry.renewed.clear()
    _tell_holds(before.holds, registry.verdict.holds)
    try:
        for some in _chunks(registry.verdict.expire):
            await _expire(registry, some)
        await end_lapsed(registry, registry.clock.wall())
        await registry.settle(list(registry.facts.snapshot.instances))
        await forget_faults(registry)
    except (Conflict, StorageFull, Overloaded) as error:
        log.warning("what the leases say could not be written; tried again at the next look", reason=error.code)


async def _expire(registry: Registry, keys: Sequence[InstanceKey]) -> None:
    async with registry.locks.hold(*map(store_key, keys)):
        going = [
            instance
            for key in keys
            if key not in registry.renewed and (instance := registry.facts.instance(key)) is not None
        ]
        draft = registry.draft()
        for instance in going:
            draft.remove(Verb.EXPIRED, instance, cause=f"not renewed for {instance.ttl:g} s")
        await draft.commit(registry.store)
        for instance in going:
            registry.gone(instance, "it was not renewed in time")
            log.info("expired", service=instance.service, instance=instance.id)
        registry.expired += len(going)


def _chunks(keys: Sequence[InstanceKey]) -> Iterable[Sequence[InstanceKey]]:
    return (keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK))


def _tell_holds(old: Mapping[ServiceName, Hold], new: Mapping[ServiceName, Hold]) -> None:
    for scope in sorted(old.keys() | new.keys()):
        was = scope in old and not old[scope].spent
        holds = scope in new and not new[scope].spent
        if was == holds:
            continue
        said = "everything" if scope == GLOBAL else scope
        if holds:
            log.error("expiry is on hold: too many leases lapsed at once", scope=said)
        elif scope in new:
            log.error("the hold reached its limit; what lapsed expires now", scope=said)
        else:
            log.warning("the hold is over", scope=said)


async def _prune(registry: Registry, archive: Archive) -> None:
    while True:
        try:
            await archive.prune(registry.clock.wall())
        except AtollError as error:
            log.warning("the history could not be pruned", reason=error.code)
        pruned_at, seen = registry.clock.now(), registry.facts.history_seen
        while registry.clock.now() - pruned_at < PRUNE_INTERVAL and registry.facts.history_seen - seen < archive.slack:
            await registry.clock.sleep(STEP * 4)
