"""Injected faults as facts: said, taken back, and forgotten when they are over.

A fault that is over strikes nobody (HAProxy looks at the clock); it is forgotten so that the gateways need not look.
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.errors import Conflict, InvalidValue, LimitReached, NotFound
from atoll.model.fault import FAULTS_LIMIT, Fault, FaultName, checked_fault
from atoll.model.keys import fault_key
from atoll.model.service import Protocol
from atoll.model.snapshot import Snapshot, encode
from atoll.registry.catalog import unknown_service
from atoll.registry.registry import Registry
from atoll.store.base import Revision


async def put_fault(registry: Registry, said: Fault) -> tuple[Fault, Revision]:
    """Let it strike; one of the same name and place is replaced.

    Raises:
        InvalidName, InvalidValue: something in it is not as it must be.
        NotFound: there is nothing to strike.
        Conflict: the name belongs to a fault at another place.
        LimitReached: there are too many.
    """
    fault = checked_fault(said)
    facts = registry.facts
    _require_place(fault, facts.snapshot)
    known = facts.snapshot.faults.get(fault.name)
    if known is not None and known.target != fault.target:
        raise Conflict(
            f"fault {fault.name} strikes {known.target}", hint="give this one another name, or clear that one"
        )
    if known is None and len(facts.snapshot.faults) >= FAULTS_LIMIT:
        raise LimitReached(f"there are {FAULTS_LIMIT} faults already", hint="atoll fault clear")
    draft = registry.draft()
    draft.put(fault_key(fault.name), encode(fault))
    return fault, await draft.commit(registry.store)


async def clear_faults(registry: Registry, names: Iterable[FaultName] | None = None) -> Revision:
    """Take these back, or all of them.

    Raises:
        NotFound: there is no fault of such a name.
    """
    known = registry.facts.snapshot.faults
    wanted = sorted(known) if names is None else list(names)
    draft = registry.draft()
    for name in wanted:
        if name not in known:
            raise NotFound(f"there is no fault {name}", hint="GET /api/v1/faults lists them")
        draft.delete(fault_key(name))
    return await draft.commit(registry.store)


async def forget_faults(registry: Registry) -> None:
    """Forget those that are over.

    Raises:
        Conflict, StorageFull, Overloaded: not now.
    """
    wall = registry.clock.wall()
    over = [name for name, fault in registry.facts.snapshot.faults.items() if not fault.holds(wall)]
    if over:
        await clear_faults(registry, over)


def _require_place(fault: Fault, snapshot: Snapshot) -> None:
    if fault.route is not None and fault.route not in snapshot.routes:
        raise NotFound(f"there is no route {fault.route}", hint="GET /api/v1/routes lists them")
    for service in (fault.service, fault.caller):
        if service is not None and service not in snapshot.services:
            raise unknown_service(service)
    if fault.service is not None and snapshot.services[fault.service].protocol is Protocol.TCP:
        raise InvalidValue(f"{fault.service} speaks tcp: its requests cannot be told apart", field="service")
