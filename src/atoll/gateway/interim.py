"""What can be done now when the wanted config needs a reload that must wait. Pure.

Reloads keep a distance, so a change that needs one must not hold up those that do not: an instance that stops elsewhere
goes out at once. Everything of the wanted config that fits the sections HAProxy has loaded is applied meanwhile; what
does not fit waits for the reload.
"""

from __future__ import annotations

import msgspec

from atoll.gateway.config import (
    CHECKS,
    FAILOVERS,
    FALLBACKS,
    LEADERS,
    ROUTES,
    SERVICES,
    Backend,
    Entries,
    GatewayConfig,
)
from atoll.gateway.failover import FLAG
from atoll.gateway.leading import speaks
from atoll.gateway.plan import sections

_BACKENDS = {ROUTES: (2, 9), SERVICES: (2, 9), FALLBACKS: (6,)}
"""Which fields of the maps' values name a backend: a verdict's third, also of the verdict proper behind one."""


def interim(running: GatewayConfig, wanted: GatewayConfig, *, hopeless: bool = False) -> GatewayConfig:
    """`wanted`, cut down to what the sections, header rules and listeners of `running` can do.

    A backend whose traits change, or that moves because of that, keeps its section and traits and gets its servers. For
    one that has no section yet the maps stay as they are: a route that leads nowhere is worse than one that is two
    seconds late. When the reload is `hopeless` (HAProxy refused it), everybody else's routes go first and the maps are
    replaced. The revision stays that of `running`: the wanted one is not reached yet.
    """
    loaded = sections(running)
    homes = _homes(running, wanted)
    backends = []
    for backend in wanted.backends:
        home = homes.get(backend.name)
        if home is not None:
            traits = loaded[home].traits
            same = home == backend.name and traits == backend.traits
            backends.append(backend if same else msgspec.structs.replace(backend, name=home, traits=traits))
    used = {backend.name for backend in backends}
    idle = tuple(
        msgspec.structs.replace(backend, servers=()) if backend.servers else backend
        for backend in (*running.idle, *running.backends)
        if backend.name not in used
    )
    taken = used | {backend.name for backend in idle}
    failovers = tuple(
        msgspec.structs.replace(
            each,
            groups=tuple(
                msgspec.structs.replace(group, section=homes.get(group.section, group.section)) for group in each.groups
            ),
        )
        for each in wanted.failovers
    )
    moved = {name: home for name, home in homes.items() if name != home}
    maps = _moved(wanted.maps, moved) if moved else dict(wanted.maps)
    if not any(speaks(section.traits) for section in loaded.values()):
        maps = {name: said for name, said in maps.items() if name != LEADERS}  # no rule that is loaded reads it
        maps |= {LEADERS: running.maps[LEADERS]} if LEADERS in running.maps else {}
    if wanted.fails_over and not running.fails_over:
        plain = {
            name: tuple((key, value.removesuffix(FLAG)) for key, value in maps[name]) for name in (ROUTES, SERVICES)
        }
        maps |= {**plain, FAILOVERS: running.maps.get(FAILOVERS, ())}
    if not hopeless and unreachable(running, wanted):
        maps |= {name: running.maps[name] for name in _BACKENDS if name in running.maps}
    if not hopeless and any(page not in running.pages for page in wanted.pages) and FALLBACKS in running.maps:
        maps |= {FALLBACKS: running.maps[FALLBACKS]}
    return msgspec.structs.replace(
        wanted,
        revision=running.revision,
        backends=tuple(backends),
        idle=idle,
        slots=tuple(slot for slot in running.slots if slot[1] not in taken),
        maps=maps,
        header_sets=running.header_sets,
        pages=running.pages,
        copies=running.copies,
        failovers=failovers,
        fails_over=running.fails_over,
        tcp_ports=running.tcp_ports,
    )


def unreachable(running: GatewayConfig, wanted: GatewayConfig) -> list[str]:
    """What nobody can reach before the reload, whatever is done meanwhile: new sections, listeners and header rules."""
    homes = _homes(running, wanted)
    missing = [backend.name for backend in wanted.backends if backend.name not in homes]
    missing += [f"port {port}" for port, _ in wanted.tcp_ports if port not in dict(running.tcp_ports)]
    missing += ["failover groups"] if wanted.fails_over and not running.fails_over else []
    missing += ["+".join(names) for names in wanted.header_sets if names not in running.header_sets]
    return missing


def _homes(running: GatewayConfig, wanted: GatewayConfig) -> dict[str, str]:
    """Wanted section → loaded section that can carry it: itself, or the one its upstream is in; only of the same kind."""
    loaded = sections(running)
    places: dict[str, Backend] = {backend.upstream: backend for backend in (*running.idle, *running.backends)}
    homes = {}
    for backend in wanted.backends:
        place = places.get(backend.upstream)
        if backend.name in loaded and loaded[backend.name].traits.kind == backend.traits.kind:
            homes[backend.name] = backend.name
        elif place is not None and place.traits.kind == backend.traits.kind:
            homes[backend.name] = place.name
    return homes


def _moved(maps: dict[str, Entries], moved: dict[str, str]) -> dict[str, Entries]:
    """The maps with sections named as they are loaded."""
    found = dict(maps)
    for name, places in _BACKENDS.items():
        found[name] = tuple((key, _verdict(value, moved, places)) for key, value in maps.get(name, ()))
    found[FAILOVERS] = tuple(
        (key, "|".join(_section_first(group, moved) for group in value.split("|")))
        for key, value in maps.get(FAILOVERS, ())
    )
    found[CHECKS] = tuple((moved.get(key, key), value) for key, value in maps.get(CHECKS, ()))
    return found


def _section_first(group: str, moved: dict[str, str]) -> str:
    section, caret, rest = group.partition("^")
    return f"{moved.get(section, section)}{caret}{rest}"


def _verdict(value: str, moved: dict[str, str], places: tuple[int, ...]) -> str:
    fields = value.split("|")
    for place in places:
        if len(fields) > place and fields[place] in moved:
            fields[place] = moved[fields[place]]
    return "|".join(fields)
