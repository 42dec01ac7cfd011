"""The decided difference between what HAProxy runs and what it shall run. Pure: comparing sends nothing.

A plan is a list of runtime operations in the order in which no request can fall between two of them: what checks ask
for, then new servers, then raised weights, then the maps that point at them, then lowered weights, then servers that
go. What HAProxy 2.8 cannot change while it runs (sections and their traits, header rules, listeners) is a `Reload`
with its reasons. A plan carries the generation it leads to; whoever applies it refuses to go back.
"""

from __future__ import annotations

import msgspec

from atoll.gateway.config import CHECKS, Entries, GatewayConfig, Server, Traits


class AddServer(msgspec.Struct, frozen=True, tag=True):
    """Create `server`, switch its checks on and let it take traffic. Words: `backend.server_options(traits, server)`."""

    backend: str
    traits: Traits
    server: Server


class SetWeight(msgspec.Struct, frozen=True, tag=True):
    """`set server <backend>/<server> weight <weight>`; 0 drains."""

    backend: str
    server: str
    weight: int


class RemoveServer(msgspec.Struct, frozen=True, tag=True):
    """Take `server` out at once and delete it when nothing uses it any more."""

    backend: str
    server: str
    patient: bool = False
    """Its instance lives on under another server name: sessions on it (WebSockets) are never cut by a drain deadline."""


class SwapMap(msgspec.Struct, frozen=True, tag=True):
    """Replace a map's entries in one step (prepare, add, commit)."""

    name: str
    entries: Entries


Operation = AddServer | SetWeight | RemoveServer | SwapMap


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Operations that lead to the config of `generation`; none: it runs already."""

    generation: int
    revision: int
    operations: tuple[Operation, ...] = ()


class Reload(msgspec.Struct, frozen=True, kw_only=True):
    """Only a new process can run the wanted config. Before rendering it, pass it through `intent.topped_up`."""

    generation: int
    revision: int
    reasons: tuple[str, ...]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A backend section as HAProxy sees it, whatever we use it for."""

    traits: Traits
    members: tuple[Server, ...] = ()

    @property
    def servers(self) -> dict[str, Server]:
        """Its servers by name."""
        return {server.name: server for server in self.members}


def sections(config: GatewayConfig) -> dict[str, Section]:
    """Every backend section of `config` by name: used, idle and spare."""
    found = {name: Section(traits=Traits(kind=kind)) for kind, name in config.slots}
    for backend in (*config.idle, *config.backends):
        found[backend.name] = Section(traits=backend.traits, members=backend.servers)
    return found


def make_plan(running: GatewayConfig, wanted: GatewayConfig) -> Plan | Reload:
    """How to get from `running` to `wanted`.

    Of `running`, the sections' traits, the header sets and the listeners are those of the file that HAProxy loaded;
    servers and maps are best read back. Of a running server only its name and effective weight are looked at.
    """
    have, want = sections(running), sections(wanted)
    reasons = _reload_reasons(running, wanted, have)
    if reasons:
        return Reload(generation=wanted.generation, revision=wanted.revision, reasons=reasons)
    operations = _server_operations(have, want)
    swaps = [
        SwapMap(name, entries)
        for name, entries in sorted(wanted.maps.items())
        if running.maps.get(name) != entries and dict(running.maps.get(name, ())) != dict(entries)
    ]
    ordered: list[Operation] = [swap for swap in swaps if swap.name == CHECKS]
    ordered += [operation for operation in operations if _before_maps(operation)]
    ordered += [swap for swap in swaps if swap.name != CHECKS]
    ordered += [operation for operation in operations if not _before_maps(operation)]
    return Plan(generation=wanted.generation, revision=wanted.revision, operations=tuple(ordered))


def _before_maps(operation: Operation) -> bool:
    return isinstance(operation, AddServer) or (isinstance(operation, SetWeight) and operation.weight > 0)


def _reload_reasons(running: GatewayConfig, wanted: GatewayConfig, have: dict[str, Section]) -> tuple[str, ...]:
    reasons = []
    for backend in wanted.backends:
        known = have.get(backend.name)
        if known is None:
            reasons.append(f"backend {backend.name} for {backend.upstream} is not in the running file")
        elif known.traits is not backend.traits and known.traits != backend.traits:
            reasons.append(f"backend {backend.name} changes {', '.join(_differing(known.traits, backend.traits))}")
    reasons += [f"slot {name} is not in the running file" for _, name in wanted.slots if name not in have]
    for names in wanted.header_sets:
        if names not in running.header_sets:
            reasons.append(f"routes match on header {' and '.join(names)}, which no running rule reads")
    if any(page not in running.pages for page in wanted.pages):
        reasons.append("fixed answers change, whose words stand in the file")
    if wanted.copies and not running.copies:
        reasons.append("last good answers are kept, for which the running process has no memory")
    if wanted.fails_over and not running.fails_over:
        reasons.append("services have failover groups, which no running rule reads")
    if dict(wanted.tcp_ports) != dict(running.tcp_ports):
        changed = sorted(set(wanted.tcp_ports) ^ set(running.tcp_ports))
        ports = sorted({port for port, _ in changed})
        reasons.append(f"tcp listeners change: {', '.join(map(str, ports))}")
    return tuple(reasons)


def _differing(before: Traits, after: Traits) -> list[str]:
    return [name for name in Traits.__struct_fields__ if getattr(before, name) != getattr(after, name)]


def _server_operations(have: dict[str, Section], want: dict[str, Section]) -> list[Operation]:
    adds: list[Operation] = []
    weights: list[Operation] = []
    removals: list[Operation] = []
    living: set[tuple[str, str, int]] | None = None
    changed = {
        name
        for name in have.keys() | want.keys()
        if name not in have or name not in want or have[name].members != want[name].members
    }
    for name in sorted(changed):
        before = have[name].servers if name in have else {}
        after = want[name].servers if name in want else {}
        adds += (AddServer(name, want[name].traits, after[server]) for server in sorted(after.keys() - before.keys()))
        weights += (
            SetWeight(name, server, after[server].effective_weight)
            for server in sorted(after.keys() & before.keys())
            if before[server].effective_weight != after[server].effective_weight
        )
        gone = sorted(before.keys() - after.keys())
        if gone and living is None:
            living = {_endpoint(server) for section in want.values() for server in section.members}
        removals += (
            RemoveServer(name, server, patient=living is not None and _endpoint(before[server]) in living)
            for server in gone
        )
    return [*adds, *weights, *removals]


def _endpoint(server: Server) -> tuple[str, str, int]:
    return server.instance, server.host, server.port
