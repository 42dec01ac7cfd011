"""The ways into the mesh, as entries of one map: by a service's name or port, and by the port of one caller's calls to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from atoll.gateway.goals import Call, Goals
from atoll.gateway.maps import service_verdict
from atoll.model.effective import call_scope
from atoll.model.names import ServiceName
from atoll.model.service import Service
from atoll.settings import Gateway


def service_ports(services: Iterable[Service], settings: Gateway, refused: list[str]) -> dict[int, ServiceName]:
    """The stable mesh port of every service that has one."""
    ports: dict[int, ServiceName] = {}
    for service in sorted(services, key=lambda each: each.name):
        port = _port(service.mesh_index, settings)
        if port is None:
            refused.append(f"service {service.name}: mesh ports end before index {service.mesh_index}; it has none")
        elif ports.setdefault(port, service.name) != service.name:
            refused.append(f"service {service.name}: mesh port {port} belongs to {ports[port]}; it has none")
    return ports


def call_ports(
    callers: Iterable[Service],
    callees: Mapping[ServiceName, Service],
    settings: Gateway,
    taken: Mapping[int, ServiceName],
    refused: list[str],
) -> dict[int, Call]:
    """The stable mesh port of every call that somebody says something of."""
    ports: dict[int, Call] = {}
    for caller in sorted(callers, key=lambda each: each.name):
        for callee, call in sorted(caller.calls.items()):
            port = _port(call.mesh_index, settings)
            what = f"calls of {caller.name} to {callee}"
            if callee not in callees:
                refused.append(f"{what}: there is no such service that speaks HTTP; what is said of them is left out")
            elif port is None:
                refused.append(f"{what}: mesh ports end before index {call.mesh_index}; only what {callee} says counts")
            elif port in taken or port in ports:
                refused.append(f"{what}: mesh port {port} belongs to others; only what {callee} says counts")
            else:
                ports[port] = (caller, callees[callee])
    return ports


def mesh_entries(
    ports: Mapping[int, ServiceName], calls: Mapping[int, Call], goals: Goals
) -> Iterator[tuple[str, str]]:
    """The services map."""
    for name in sorted(goals.services):
        goal = goals.of_service(name)
        if goal is not None:
            yield name, service_verdict(goal)
    for port, name in sorted(ports.items()):
        goal = goals.of_service(name)
        if goal is not None:
            yield str(port), service_verdict(goal)
    for port, call in sorted(calls.items()):
        yield str(port), service_verdict(goals.of_call(call), call_scope(*call))


def _port(index: int, settings: Gateway) -> int | None:
    return settings.mesh_ports + index if 0 <= index < settings.mesh_count else None
