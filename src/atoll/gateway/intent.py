"""What HAProxy shall run, given the facts and what it ran before. Pure, and never worse for one bad fact.

Facts that cannot be run are left out and named in `Intent.refused`; too many of them refuse the whole config, and the
one that runs stays. Where an upstream's servers stand is `placement`'s to say, what they are `members`'.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from atoll.errors import AtollError, Overloaded
from atoll.gateway import emptied
from atoll.gateway.breaker_lines import breaker_entries, words_of
from atoll.gateway.closed import closed_entries, closed_services
from atoll.gateway.config import (
    BREAKERS,
    CHECKS,
    CLOSED,
    EMPTIED,
    FAILOVERS,
    FALLBACKS,
    FAULTS,
    LEADERS,
    MAINTENANCE,
    POLICIES,
    ROUTES,
    SERVICES,
    Backend,
    Entries,
    GatewayConfig,
    Kind,
    Server,
    Traits,
)
from atoll.gateway.ejection import NO_OUTLIERS, NONE, Ejections, Outliers
from atoll.gateway.emptied import empty_entries
from atoll.gateway.failover import failover_entries
from atoll.gateway.fallback import fallback_entries, fallback_pages, keeps
from atoll.gateway.goals import Goals, upstreams
from atoll.gateway.groups import failovers_of, groups_of
from atoll.gateway.injection import fault_entries
from atoll.gateway.leading import leader_entries
from atoll.gateway.maps import HeaderNames, compile_routes, header_sets, set_name
from atoll.gateway.members import check_entry, servers_of, traits_of
from atoll.gateway.mesh import call_ports, mesh_entries, service_ports
from atoll.gateway.objections import route_objection, service_objection
from atoll.gateway.placement import fresh_slots, place
from atoll.gateway.upstream import Upstream
from atoll.gateway.variant import traits_for
from atoll.kit.text import scrub
from atoll.model.fault import Fault, checked_fault
from atoll.model.maintenance import Maintenance
from atoll.model.names import InstanceId, ServiceName
from atoll.model.route import Route
from atoll.model.service import Instance, Service
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway

ROUTE_LIMIT = 10_000
BACKEND_LIMIT = 5_000
SERVER_LIMIT = 30_000
"""About 4 kB of HAProxy's memory each."""
MAP_BYTES_LIMIT = 64 << 20
HEADER_SET_LIMIT = 16
"""Combinations of header names; each is a few rules that requests pass."""
PAGE_LIMIT = 200
"""Fixed answers; each is a rule that failed requests pass."""


class Intent(msgspec.Struct, frozen=True):
    """A config, and the facts that it leaves out, each as a sentence."""

    config: GatewayConfig
    refused: tuple[str, ...] = ()


class Members(msgspec.Struct, frozen=True):
    """What one upstream's servers were made of, and what they became."""

    service: Service
    instances: tuple[Instance, ...]
    outliers: Outliers
    leader: InstanceId | None
    backend: Backend
    refused: tuple[str, ...]


class Compiled(msgspec.Struct, frozen=True):
    """What the routes map was made of, and what it became."""

    routes: tuple[Route, ...]
    goals: Goals
    entries: Entries


class Judged(msgspec.Struct, frozen=True):
    """A service: what is wrong with it, or what its sections are."""

    service: Service
    objection: str | None
    traits: Traits
    asked: str | None
    """Its entry in the checks map."""


Sections = tuple[tuple[Upstream, str, str], ...]
"""Every upstream with its label and its section, by label."""


class Frame(msgspec.Struct, frozen=True):
    """All of a config but its servers: what services and routes alone decide. Instances come and go far more often."""

    known_services: tuple[Service, ...]
    known_routes: tuple[Route, ...]
    known_words: tuple[Maintenance, ...]
    known_faults: tuple[Fault, ...]
    services: dict[ServiceName, Service]
    wanted: dict[Upstream, Traits]
    sections: Sections
    config: GatewayConfig
    """Without backends."""
    refused: tuple[str, ...]
    made: GatewayConfig | None = None
    """What became of it last; where HAProxy runs something else, sections may lie elsewhere."""

    def fits(self, snapshot: Snapshot, previous: GatewayConfig | None) -> bool:
        """Whether the same facts meet the same sections."""
        return (
            previous is not None
            and previous is self.made
            and _same(self.known_services, tuple(snapshot.services.values()))
            and _same(self.known_routes, tuple(snapshot.routes.values()))
            and _same(self.known_words, tuple(snapshot.maintenance.values()))
            and _same(self.known_faults, tuple(snapshot.faults.values()))
        )


@dataclass
class Memo:
    """What an earlier call worked out, used again where the facts are the same objects. One owner, bounded by them."""

    services: dict[str, Judged] = field(default_factory=dict)
    members: dict[str, Members] = field(default_factory=dict)
    routes: dict[str, tuple[Route, str | None]] = field(default_factory=dict)
    compiled: Compiled | None = None
    frame: Frame | None = None


def intend(
    snapshot: Snapshot,
    previous: GatewayConfig | None,
    settings: Gateway,
    memo: Memo | None = None,
    ejected: Ejections = NONE,
    standings: Mapping[ServiceName, int] | None = None,
    empty: emptied.Sections = emptied.NONE,
) -> Intent:
    """The config for `snapshot`; `previous` is the one HAProxy runs (None: it does not run yet).

    Instances that are `ejected` get less of the requests, or none. `standings`: at which of its groups a service is.
    `empty`: sections of which nobody takes requests.
    The generation is the previous one's when nothing but the revision differs, else one more.

    Raises:
        Overloaded: a limit of this module is passed; the message names it.
    """
    memo = memo or Memo()
    frame = memo.frame
    if frame is None or not frame.fits(snapshot, previous):
        frame = _frame(snapshot, previous, settings, memo)
    objections: list[str] = []
    backends = tuple(_backends(snapshot, frame, memo, ejected, objections))
    _refuse_over("servers", sum(len(backend.servers) for backend in backends), SERVER_LIMIT)
    maps = {
        **frame.config.maps,
        EMPTIED: tuple(empty_entries(backends, empty)),
        FAILOVERS: tuple(failover_entries(frame.config.failovers, standings or {})),
        LEADERS: tuple(leader_entries(backends, snapshot.leaders)),
    }
    config = msgspec.structs.replace(frame.config, revision=snapshot.revision, backends=backends, maps=maps)
    config = _numbered(topped_up(config, settings) if previous is None else config, previous)
    memo.frame = msgspec.structs.replace(frame, made=config) if previous is not None else None  # slots were added
    return Intent(config, tuple(dict.fromkeys((*frame.refused, *objections))))


def _frame(snapshot: Snapshot, previous: GatewayConfig | None, settings: Gateway, memo: Memo) -> Frame:
    refused: list[str] = []
    judged = _sound_services(snapshot, memo, refused)
    services = {name: each.service for name, each in judged.items()}
    traits = {name: each.traits for name, each in judged.items()}
    routes = _sound_routes(snapshot, memo, refused)
    _refuse_over("routes", len(routes), ROUTE_LIMIT)
    spoken = {name: service for name, service in services.items() if traits[name].kind is not Kind.TCP}
    ports = service_ports(services.values(), settings, refused)
    calls = call_ports(services.values(), spoken, settings, ports, refused)
    wanted = {Upstream(name): traits[name] for name in services} | upstreams(spoken, traits, routes, calls.values())
    grouped = {name: each for name, each in services.items() if each.failover is not None}
    wanted |= {
        upstream: traits[upstream.service]
        for each in grouped.values()
        for upstream in groups_of(each, services, traits, refused).values()
    }
    _refuse_over("upstreams", len(wanted), BACKEND_LIMIT)
    placed = place(wanted, previous)
    sections = tuple((upstream, str(upstream), placed.names[upstream]) for upstream in sorted(placed.names, key=str))
    closed = closed_services(snapshot.maintenance.values())
    leads = {
        upstream: MAINTENANCE if upstream.service in closed else name
        for upstream, name in placed.names.items()
        if upstream.service in spoken
    }
    failovers = failovers_of(grouped.values(), services, traits, placed.names)
    goals = Goals(spoken, traits, leads, frozenset(each.service for each in failovers))
    refused += _lost_shares(routes, services, traits)
    faults = tuple(_sound_faults(snapshot, refused))
    guards = tuple(goals.guards(routes, calls.values(), refused))
    pages = fallback_pages(guards)
    _refuse_over("fixed answers", len(pages), PAGE_LIMIT)
    maps = {
        BREAKERS: tuple(
            breaker_entries(
                goals.bounds(routes, calls.values()), words_of(spoken.values(), routes), forced=bool(faults)
            )
        ),
        CHECKS: tuple(_check_entries(sections, judged)),
        CLOSED: tuple(closed_entries(closed)),
        FAILOVERS: (),
        FALLBACKS: fallback_entries(guards),
        EMPTIED: (),
        LEADERS: (),
        ROUTES: _compiled(routes, goals, memo),
        SERVICES: tuple(mesh_entries(ports, calls, goals)),
        POLICIES: goals.lines(routes, calls.values()),
        FAULTS: tuple(fault_entries(faults)),
    }
    _refuse_over(
        "map bytes",
        sum(2 * len(part) + sum(map(len, itertools.chain.from_iterable(part))) for part in maps.values()),
        MAP_BYTES_LIMIT,
    )
    config = GatewayConfig(
        idle=placed.idle,
        slots=placed.slots,
        maps=maps,
        header_sets=_header_sets(routes, previous),
        pages=pages,
        copies=keeps(maps[FALLBACKS]) or (previous is not None and previous.copies),
        failovers=failovers,
        fails_over=bool(failovers) or (previous is not None and previous.fails_over),
        tcp_ports=tuple(
            (port, placed.names[Upstream(name)])
            for port, name in sorted(ports.items())
            if traits[name].kind is Kind.TCP
        ),
    )
    facts = (
        tuple(snapshot.services.values()),
        tuple(snapshot.routes.values()),
        tuple(snapshot.maintenance.values()),
        tuple(snapshot.faults.values()),
    )
    return Frame(*facts, services, wanted, sections, config, tuple(refused))


def topped_up(config: GatewayConfig, settings: Gateway) -> GatewayConfig:
    """`config` as a new process best loads it: all spare slots, no idle sections, only the header sets in use."""
    asked = {key.split("?")[1] for key, _ in config.maps.get(ROUTES, ()) if key.count("?") == 2}
    return msgspec.structs.replace(
        config,
        idle=(),
        fails_over=bool(config.failovers),
        slots=fresh_slots({backend.name for backend in config.backends}, settings),
        header_sets=tuple(each for each in config.header_sets if set_name(each) in asked),
        copies=keeps(config.maps.get(FALLBACKS, ())),
    )


def _sound_services(snapshot: Snapshot, memo: Memo, refused: list[str]) -> dict[ServiceName, Judged]:
    known, memo.services = memo.services, {}
    sound = {}
    for key, service in snapshot.services.items():
        judged = known.get(key)
        if judged is None or judged.service is not service:
            judged = _judged(service)
        memo.services[key] = judged
        if judged.objection:
            refused.append(f"service {scrub(service.name, limit=64)}: {judged.objection}")
        else:
            sound[service.name] = judged
    return sound


def _judged(service: Service) -> Judged:
    objection = service_objection(service)
    if objection:
        return Judged(service, objection, Traits(), None)
    traits = traits_for(traits_of(service), service.policy)
    return Judged(service, None, traits, check_entry(service, traits.kind))


def _sound_routes(snapshot: Snapshot, memo: Memo, refused: list[str]) -> tuple[Route, ...]:
    sound = []
    judged: dict[str, tuple[Route, str | None]] = {}
    for key, route in snapshot.routes.items():
        known = memo.routes.get(key)
        objection = known[1] if known and known[0] is route else route_objection(route)
        judged[key] = (route, objection)
        if objection:
            refused.append(f"route {scrub(route.name, limit=64)}: {objection}")
        else:
            sound.append(route)
    memo.routes = judged
    return tuple(sorted(sound, key=lambda route: route.name))


def _sound_faults(snapshot: Snapshot, refused: list[str]) -> Iterator[Fault]:
    for fault in snapshot.faults.values():
        try:
            yield checked_fault(fault)
        except AtollError as error:
            refused.append(f"fault {scrub(fault.name, limit=64)}: {error.detail}")


def _lost_shares(
    routes: Sequence[Route], services: Mapping[ServiceName, Service], traits: Mapping[ServiceName, Traits]
) -> Iterator[str]:
    for route in routes:
        for share in route.shares:
            if share.service not in services:
                yield f"route {route.name}: service {share.service} does not exist; it answers 503"
            elif traits[share.service].kind is Kind.TCP:
                yield f"route {route.name}: service {share.service} speaks tcp, not HTTP; it answers 503"


def _backends(
    snapshot: Snapshot, frame: Frame, memo: Memo, ejected: Ejections, refused: list[str]
) -> Iterator[Backend]:
    by_service: dict[ServiceName, list[Instance]] = {}
    outliers = ejected.by_service()
    for (name, _), instance in snapshot.instances.items():
        by_service.setdefault(name, []).append(instance)
    known, memo.members = memo.members, {}
    for upstream, label, section in frame.sections:
        service = frame.services[upstream.service]
        mine = tuple(filter(upstream.has, by_service.get(upstream.service, ())))
        judged = outliers.get(upstream.service, NO_OUTLIERS)
        leader = snapshot.leaders[service.name].instance if service.name in snapshot.leaders else None
        members = known.get(label)
        same = members is not None and members.service is service and members.outliers == judged
        same = same and members is not None and members.leader == leader
        if members is None or not same or not _same(members.instances, mine):
            servers, objections = servers_of(label, service, mine, judged, leader)
            backend = _backend(section, upstream, label, frame, servers)
            members = Members(service, mine, judged, leader, backend, objections)
        elif members.backend.name != section:
            backend = _backend(section, upstream, label, frame, members.backend.servers)
            members = msgspec.structs.replace(members, backend=backend)
        memo.members[label] = members
        refused += members.refused
        yield members.backend


def _backend(
    section: str,
    upstream: Upstream,
    label: str,
    frame: Frame,
    servers: tuple[Server, ...],
) -> Backend:
    return Backend(
        name=section,
        upstream=label,
        service=upstream.service,
        traits=frame.wanted[upstream],
        servers=servers,
    )


def _same(one: Sequence[object], other: Sequence[object]) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))


def _compiled(routes: tuple[Route, ...], goals: Goals, memo: Memo) -> Entries:
    known = memo.compiled
    if known is None or known.goals != goals or not _same(known.routes, routes):
        known = memo.compiled = Compiled(routes, goals, compile_routes(routes, goals.of_share))
    return known.entries


def _check_entries(sections: Sections, services: Mapping[ServiceName, Judged]) -> Iterator[tuple[str, str]]:
    for upstream, _, section in sections:
        asked = services[upstream.service].asked
        if asked is not None:
            yield section, asked


def _header_sets(routes: Iterable[Route], previous: GatewayConfig | None) -> tuple[HeaderNames, ...]:
    before = previous.header_sets if previous is not None else ()
    now = header_sets(routes)
    _refuse_over("combinations of header names in routes", len(now), HEADER_SET_LIMIT)
    return (*before, *(names for names in now if names not in before))


def _numbered(config: GatewayConfig, previous: GatewayConfig | None) -> GatewayConfig:
    if previous is None:
        return msgspec.structs.replace(config, generation=1)
    same = msgspec.structs.replace(config, generation=previous.generation, revision=previous.revision) == previous
    return msgspec.structs.replace(config, generation=previous.generation + (0 if same else 1))


def _refuse_over(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise Overloaded(
            f"{count} {what} are more than the gateway's {limit}; the last good configuration stays",
            hint="remove some, or split the platform",
        )
