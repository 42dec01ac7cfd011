"""Which fallbacks cannot stand: those that lead to nobody, to what failed, or in a circle. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from atoll.model.names import ServiceName
from atoll.model.policy import Policy
from atoll.model.project import Project
from atoll.model.service import Protocol, Service
from atoll.project.finding import Code, Finding, Path
from atoll.project.routes_valid import unknown_service

_OTHER: Path = ("fallback", "service")


def check_fallbacks(
    project: Project, services: Mapping[ServiceName, Service], off: Collection[str], also: Collection[str]
) -> Iterator[Finding]:
    """What is wrong with the other services that fallbacks name, given every service that will exist.

    `off`: services whose profiles are not on. `also`: names that are not unknown.
    """
    for policy, failed, here in _places(project):
        yield from _calls(policy, failed, services, here)
        name = _other(policy)
        if name is None:
            continue
        path: Path = (*here, *_OTHER)
        found = services.get(name)
        if name in failed:
            hint = "name another one, or give a `static` answer"
            yield _wrong(f"`{name}` cannot stand in for itself", path, hint)
        elif name in off:
            hint = "turn one of its profiles on with --profile"
            yield _wrong(f"the profiles of `{name}` are not on", path, hint, Code.UNKNOWN_REFERENCE)
        elif found is None and name not in also:
            yield unknown_service(name, services, path, "fallback")
        elif found is not None and (wrong := _tongue(found, [services[one] for one in failed if one in services])):
            yield _wrong(f"`{name}` speaks {found.protocol}; {wrong}", path)
        elif found is not None and found.run is not None and found.run.port is None:
            yield _wrong(f"`{name}` listens nowhere (port: none)", path, "give it a port, or name another service")
    yield from _circles(project, services)


def _tongue(other: Service, failed: Collection[Service]) -> str:
    """Why `other` cannot answer what was asked of the services that failed; empty: it can, or only those who ask know."""
    if other.protocol is Protocol.TCP:
        return "only a service that speaks HTTP or gRPC can answer instead"
    for service in failed:
        if Protocol.GRPC in {service.protocol, other.protocol} and service.protocol is not other.protocol:
            return f"`{service.name}`, whose requests it would get, speaks {service.protocol}"
    return ""


def _calls(
    policy: Policy, failed: frozenset[ServiceName], services: Mapping[ServiceName, Service], here: Path
) -> Iterator[Finding]:
    """What cannot answer calls of gRPC: bytes that are no messages of theirs, and copies, since nothing of a POST is kept."""
    fallback = policy.fallback
    said = {
        ("fallback", "static"): fallback is not None and fallback.static is not None,
        ("fallback", "last_good"): fallback is not None and fallback.last_good is not None,
        ("errors",): bool(policy.errors),
    }
    for name in sorted(failed):
        if name in services and services[name].protocol is Protocol.GRPC:
            for field in (field for field, there in said.items() if there):
                hint = "leave it out: of gRPC only `service`, another service with the same methods, can answer instead"
                yield _wrong(f"`{name}` speaks grpc; `{field[-1]}` has no message of gRPC", (*here, *field), hint)


def _places(project: Project) -> Iterator[tuple[Policy, frozenset[ServiceName], Path]]:
    """Every policy, whose failure it is about, and where it stands."""
    for service in project.services:
        here: Path = ("services", service.name)
        yield service.policy, frozenset({service.name}), here
        for name, call in service.calls.items():
            yield call.policy, frozenset({name}), (*here, "calls", name)
    for route in project.routes:
        yield route.policy, frozenset(share.service for share in route.shares), ("gateway", "routes", route.name)
    seen: list[Policy] = []
    for route in project.routes:
        if route.defaults not in seen:
            seen.append(route.defaults)
            yield route.defaults, frozenset(), ("gateway", "defaults")


def _circles(project: Project, services: Mapping[ServiceName, Service]) -> Iterator[Finding]:
    """Services that stand in for each other: nobody would be left when they fail together. Each circle once."""
    told: set[ServiceName] = set()
    for service in project.services:
        trail = [service.name]
        while (following := _other(services[trail[-1]].policy)) is not None and following in services:
            if following in trail:
                circle = [*trail[trail.index(following) :], following]
                if len(circle) > 2 and not told & set(circle):
                    shown = " → ".join(f"`{name}`" for name in circle)
                    hint = "end it with a `static` or `last_good` answer"
                    yield _wrong(f"fallbacks in a circle: {shown}", ("services", circle[0], *_OTHER), hint, Code.CYCLE)
                told |= set(circle)
                break
            trail.append(following)


def _other(policy: Policy) -> ServiceName | None:
    said = policy.fallback
    return None if said is None or said.service is None else said.service.service


def _wrong(message: str, path: Path, hint: str = "", code: Code = Code.INVALID_VALUE) -> Finding:
    return Finding(code=code, message=message, path=path, hint=hint)
