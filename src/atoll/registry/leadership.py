"""Who leads a service of `mode: active-passive`: exactly one instance at a time, each term with a greater fencing number.

`elect` is the whole decision, and pure: the present leader keeps its place while it lives and takes requests; a dead,
drained or failing one is replaced by the instance that has been registered longest. One fact a service holds the
leader, written only on the condition that it is still the one that was looked at: no revision has two.

The number of a term is one more than the store's revision that the election looked at. The commit gets a revision that
is at least as great, so numbers grow strictly, also over restarts, deleted services and restored backups.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from atoll.errors import AtollError
from atoll.kit.logs import Log
from atoll.model.answers import Verb
from atoll.model.keys import leader_key
from atoll.model.leader import Leader
from atoll.model.names import ServiceName
from atoll.model.service import Instance, Mode, State
from atoll.model.snapshot import encode
from atoll.registry.registry import Registry

FIT = frozenset({State.PASSING, State.SUSPECT})
"""States in which an instance may lead; one whose lease lapsed may still answer, and a pause of ours makes all lapse."""
PAUSE = 0.5
"""Seconds until an election that could not be written is tried again."""
log = Log("registry")


def elect(
    service: ServiceName, present: Leader | None, instances: Sequence[Instance], *, revision: int, wall: float
) -> Leader | None:
    """Who shall lead, when that is somebody else than `present`; None: nothing changes.

    `instances` are the service's; `revision` is the store's that they were read at.
    """
    holder = next((one for one in instances if present is not None and one.id == present.instance), None)
    kept = holder is not None and present is not None and holder.registered == present.registered
    if holder is not None and kept and _fit(holder):
        return None
    fit = sorted(filter(_fit, instances), key=lambda one: (one.state is not State.PASSING, one.registered, one.id))
    if fit:
        return Leader(
            service=service,
            instance=fit[0].id,
            fencing=revision + 1,
            registered=fit[0].registered,
            since=wall,
            cause=_why(present, holder, kept=kept),
        )
    if present is None or present.instance is None:
        return None
    if holder is not None and kept and holder.state is State.FAILING and holder.weight > 0:
        return None  # nobody is better, and HAProxy's own check says when it may be asked again
    return msgspec.structs.replace(
        present, instance=None, registered=0.0, since=wall, cause=_why(present, holder, kept=kept)
    )


def _fit(instance: Instance) -> bool:
    return instance.state in FIT and instance.weight > 0


def _why(present: Leader | None, holder: Instance | None, *, kept: bool) -> str:
    if present is None or present.instance is None:
        return ""
    if holder is None:
        return f"{present.instance} is gone"
    if not kept:
        return f"another process took over the id {holder.id}"
    if holder.weight == 0:
        return f"{holder.id} has weight 0"
    return f"{holder.id} is {holder.state.value}" + (f": {holder.cause}" if holder.cause else "")


async def running(registry: Registry) -> None:
    """Hold elections whenever instances or services change, for ever."""
    facts = registry.facts
    while True:
        await facts.stirred.wait()
        facts.stirred.clear()
        try:
            for service in sorted(facts.passive | facts.snapshot.leaders.keys()):
                await hold(registry, service)
        except (AtollError, OSError) as error:  # somebody else wrote, or the disk is full
            log.warning("an election could not be written; tried again", cause=str(error))
            await registry.clock.sleep(PAUSE)
            facts.stirred.set()


async def hold(registry: Registry, name: ServiceName) -> Leader | None:
    """One election; the new leader if it brought one.

    Raises:
        Conflict: somebody else held one meanwhile.
        StorageFull: nothing was done.
    """
    facts = registry.facts
    service, present = facts.snapshot.services.get(name), facts.snapshot.leaders.get(name)
    draft = registry.draft()
    if service is None or service.mode is not Mode.ACTIVE_PASSIVE:
        if present is not None:
            draft.delete(leader_key(name))
            await draft.commit(registry.store)
        return None
    instances = facts.of(name)
    leader = elect(name, present, instances, revision=facts.revision, wall=draft.wall)
    if leader is None:
        return None
    draft.put(leader_key(name), encode(leader))
    chosen = next((one for one in instances if one.id == leader.instance), None)
    if chosen is not None:
        cause = f"fencing number {leader.fencing}" + (f"; {leader.cause}" if leader.cause else "")
        draft.note(Verb.LEADING, chosen, cause=cause)
    await draft.commit(registry.store)
    log.info("leader", service=name, instance=leader.instance or "nobody", fencing=leader.fencing, cause=leader.cause)
    return leader
