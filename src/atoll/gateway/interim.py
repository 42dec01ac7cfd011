"""What can be done now when the wanted config needs a reload that must wait. Pure.

Reloads keep a distance, so a change that needs one must not hold up those that do not: an instance that stops elsewhere
goes out at once. Everything of the wanted config that fits the sections HAProxy has loaded is applied meanwhile; what
does not fit waits for the reload.
"""

from __future__ import annotations

import msgspec

from atoll.gateway.config import ROUTES, SERVICES, Backend, GatewayConfig
from atoll.gateway.plan import sections


def interim(running: GatewayConfig, wanted: GatewayConfig, *, hopeless: bool = False) -> GatewayConfig:
    """`wanted`, cut down to what the sections, header rules and listeners of `running` can do.

    A backend whose traits change keeps the loaded ones; one that is not loaded waits, and the maps that would send
    requests to it stay as they are: a route that leads nowhere is worse than one that is two seconds late. When the
    reload is `hopeless` (HAProxy refused it), everybody else's routes go first and the maps are replaced.
    """
    loaded = sections(running)
    backends = []
    for backend in wanted.backends:
        section = loaded.get(backend.name)
        if section is None:
            continue
        traits = section.traits
        same = traits == backend.traits
        servers = backend.servers if same or _fits(backend, running) else tuple(section.servers.values())
        backends.append(backend if same else msgspec.structs.replace(backend, traits=traits, servers=servers))
    used = {backend.name for backend in backends}
    idle = tuple(
        msgspec.structs.replace(backend, servers=()) if backend.servers else backend
        for backend in (*running.idle, *running.backends)
        if backend.name not in used
    )
    taken = used | {backend.name for backend in idle}
    maps = dict(wanted.maps)
    if not hopeless and unreachable(running, wanted):
        maps |= {name: running.maps[name] for name in (ROUTES, SERVICES) if name in running.maps}
    return msgspec.structs.replace(
        wanted,
        backends=tuple(backends),
        idle=idle,
        slots=tuple(slot for slot in running.slots if slot[1] not in taken),
        maps=maps,
        header_sets=running.header_sets,
        tcp_ports=running.tcp_ports,
    )


def unreachable(running: GatewayConfig, wanted: GatewayConfig) -> list[str]:
    """What nobody can reach before the reload, whatever is done meanwhile: new sections, listeners and header rules."""
    loaded = sections(running)
    missing = [backend.name for backend in wanted.backends if backend.name not in loaded]
    missing += [f"port {port}" for port, _ in wanted.tcp_ports if port not in dict(running.tcp_ports)]
    missing += ["+".join(names) for names in wanted.header_sets if names not in running.header_sets]
    return missing


def _fits(backend: Backend, running: GatewayConfig) -> bool:
    """Whether the servers of `backend` mean the same under the traits that are loaded: only the kind matters to them."""
    loaded = sections(running)[backend.name].traits
    return loaded.kind == backend.traits.kind and loaded.sticky == backend.traits.sticky
