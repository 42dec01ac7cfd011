"""The failover groups of services, as sections: what of them can be run, given all services. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from atoll.gateway.config import FailoverGroup, Failovers, Kind, Traits
from atoll.gateway.upstream import Upstream, upstream_of_group
from atoll.model.failover import Group
from atoll.model.names import ServiceName
from atoll.model.service import Service


def groups_of(
    service: Service,
    services: Mapping[ServiceName, Service],
    traits: Mapping[ServiceName, Traits],
    refused: list[str],
) -> dict[Group, Upstream]:
    """The groups of a service that requests can go to; HTTP and gRPC never go to tcp. Others are told in `refused`."""
    found = {}
    for group in service.failover.groups if service.failover is not None else ():
        if group.service not in services:
            refused.append(f"failover of {service.name}: service {group.service} does not exist; it is passed over")
        elif traits[group.service].kind is Kind.TCP or traits[service.name].kind is Kind.TCP:
            refused.append(f"failover of {service.name}: bytes of {group.service} are no answers; it is passed over")
        else:
            found[group] = upstream_of_group(group)
    return found


def failovers_of(
    grouped: Iterable[Service],
    services: Mapping[ServiceName, Service],
    traits: Mapping[ServiceName, Traits],
    sections: Mapping[Upstream, str],
) -> tuple[Failovers, ...]:
    """Every service with at least two groups that can be gone to, by name."""
    found = []
    for service in sorted(grouped, key=lambda each: each.name):
        said, groups = service.failover, groups_of(service, services, traits, [])
        if said is not None and len(groups) > 1:
            found.append(
                Failovers(
                    service=service.name,
                    groups=tuple(
                        FailoverGroup(name=str(group), section=sections[upstream], service=group.service)
                        for group, upstream in groups.items()
                    ),
                    error_rate=said.error_rate,
                    return_after=said.return_after,
                    word=service.failover_word,
                )
            )
    return tuple(found)
