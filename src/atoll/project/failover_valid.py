"""Which failovers cannot stand: a group twice, unknown services, loops through other services' groups, other protocols. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from atoll.model.failover import failover_problems
from atoll.model.names import ServiceName
from atoll.model.project import Project
from atoll.model.service import Protocol, Service
from atoll.project.finding import Code, Finding, Path
from atoll.project.routes_valid import unknown_service

HTTP = frozenset({Protocol.HTTP, Protocol.H2C})
"""A caller of one can be answered by the other: HAProxy speaks both."""


def check_failovers(
    project: Project, services: Mapping[ServiceName, Service], off: Collection[str], also: Collection[str]
) -> Iterator[Finding]:
    """What is wrong with the project's failovers, given every service that will exist.

    `off`: services whose profiles are not on. `also`: names that are not unknown.
    """
    for service in project.services:
        if service.failover is None:
            continue
        here: Path = ("services", service.name, "failover")
        for path, wrong in failover_problems(service.name, service.failover):
            yield Finding(code=Code.INVALID_VALUE, message=wrong, path=(*here, *path))
        if service.protocol is Protocol.TCP:
            yield Finding(
                code=Code.INVALID_VALUE,
                message=f"`{service.name}` speaks tcp: only requests can go elsewhere",
                path=here,
                hint="leave it out",
            )
        for index, group in enumerate(service.failover.groups):
            place: Path = (*here, "groups", index)
            other = services.get(group.service)
            if other is None:
                if group.service not in off and group.service not in also:
                    yield unknown_service(group.service, services, place, "failover")
            elif not _fit(service.protocol, other.protocol):
                yield Finding(
                    code=Code.INVALID_VALUE,
                    message=f"`{service.name}` speaks {service.protocol}, `{other.name}` {other.protocol}",
                    path=place,
                    hint="name a service of the same protocol",
                )
    yield from _loops(project, services)


def _fit(wanted: Protocol, other: Protocol) -> bool:
    return wanted is other or {wanted, other} <= HTTP


def _loops(project: Project, services: Mapping[ServiceName, Service]) -> Iterator[Finding]:
    """Each service from which its groups lead back to itself through another service's, by the shortest way."""
    edges = {name: _others(service) for name, service in services.items()}
    told: set[frozenset[ServiceName]] = set()
    for service in project.services:
        ways: list[tuple[ServiceName, ...]] = [(service.name, other) for other in edges.get(service.name, ())]
        seen = {service.name}
        while ways:
            way = ways.pop(0)
            for other in edges.get(way[-1], ()):
                if other == service.name and frozenset(way) not in told:
                    told.add(frozenset(way))
                    at = next(i for i, group in enumerate(_groups(service)) if group == way[1])
                    yield Finding(
                        code=Code.CYCLE,
                        message=f"failovers lead in a circle: {' → '.join((*way, other))}",
                        path=("services", service.name, "failover", "groups", at),
                        hint="let the last resort have no failover of its own",
                    )
                elif other not in seen:
                    seen.add(other)
                    ways.append((*way, other))


def _groups(service: Service) -> list[ServiceName]:
    return [group.service for group in service.failover.groups] if service.failover is not None else []


def _others(service: Service) -> list[ServiceName]:
    return [name for name in dict.fromkeys(_groups(service)) if name != service.name]
