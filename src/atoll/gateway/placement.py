"""Which section of haproxy.cfg carries which upstream. Assigned once, then kept, so servers keep their state.

An upstream stays where it is as long as its traits do. A new one takes a spare slot of its kind, or gets a section of
its own name. A slot that became free in this step is not given away in the same step: requests that still come by the
old maps must never meet another service's servers.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.gateway.config import Backend, GatewayConfig, Kind, Traits
from atoll.gateway.upstream import Upstream
from atoll.settings import Gateway


class Placement(msgspec.Struct, frozen=True):
    """The section of every upstream, and the sections left over."""

    names: dict[Upstream, str]
    idle: tuple[Backend, ...] = ()
    slots: tuple[tuple[Kind, str], ...] = ()


def place(traits: Mapping[Upstream, Traits], previous: GatewayConfig | None) -> Placement:
    """Sections for the upstreams in `traits`, given what `previous` has them in."""
    known: list[Backend] = []
    slots: list[tuple[Kind, str]] = []
    if previous is not None:
        known = [*previous.backends, *previous.idle]
        slots = list(previous.slots)
    fitting = {(backend.upstream, backend.traits): backend.name for backend in reversed(known)}
    placed: dict[Upstream, str] = {}
    for upstream in sorted(traits, key=str):
        kept = fitting.get((str(upstream), traits[upstream]))
        placed[upstream] = kept or _slot(traits[upstream], slots) or upstream.section
    used = set(placed.values())
    left = [backend for backend in known if backend.name not in used]
    freed = [(backend.traits.kind, backend.name) for backend in left if is_slot(backend.name)]
    idle = [msgspec.structs.replace(backend, servers=()) for backend in left if not is_slot(backend.name)]
    return Placement(placed, tuple(sorted(idle, key=lambda backend: backend.name)), (*slots, *freed))


def _slot(traits: Traits, slots: list[tuple[Kind, str]]) -> str | None:
    if traits != Traits(kind=traits.kind):
        return None
    for at, (kind, name) in enumerate(slots):
        if kind is traits.kind:
            del slots[at]
            return name
    return None


def is_slot(name: str) -> bool:
    """Whether a section is a slot: no upstream's own section has such a name."""
    return name.startswith("slot:")


def fresh_slots(used: set[str], settings: Gateway) -> tuple[tuple[Kind, str], ...]:
    """A full set of spare slots beside the sections in `used`. Tcp needs a listener, thus a reload, so it has none."""
    counts = {Kind.HTTP: settings.http_slots, Kind.PLAIN: settings.http_slots}
    counts |= {Kind.GRPC: settings.grpc_slots, Kind.CALLS: settings.grpc_slots}
    slots: list[tuple[Kind, str]] = []
    for kind, count in counts.items():
        numbers = iter(range(1, len(used) + count + 1))
        free = (name for name in (f"slot:{kind}:{number}" for number in numbers) if name not in used)
        slots += [(kind, next(free)) for _ in range(count)]
    return tuple(slots)
