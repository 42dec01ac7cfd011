"""Which routes cannot stand beside each other. Pure; the loader, the plan and the API ask the same questions.

Refused are: a share of an unknown service, of one that takes no HTTP, shares that carry no weight at all or say the
same thing twice, and two routes that accept the same request with equal precedence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from atoll.kit.text import closest
from atoll.model.checked import SHARE_CEILING, SHARES_LIMIT
from atoll.model.names import ServiceName
from atoll.model.route import METHODS, Match, Route
from atoll.model.service import Protocol, Service
from atoll.project.finding import Code, Finding, Path


def check_route(route: Route, services: Mapping[ServiceName, Service]) -> Iterator[Finding]:
    """What is wrong with one route, given every service that will exist. Paths begin with `gateway.routes.<name>`."""
    here: Path = ("gateway", "routes", route.name)
    yield from _shares(route, services, here)
    for method in route.match.methods:
        if method not in METHODS:
            yield Finding(
                code=Code.INVALID_VALUE,
                message=f"unknown method `{method}`",
                path=(*here, "match", "methods", method),
                suggestion=closest(method, METHODS) or "",
                hint=f"methods are: {', '.join(sorted(METHODS))}",
            )


def _shares(route: Route, services: Mapping[ServiceName, Service], here: Path) -> Iterator[Finding]:
    if not 1 <= len(route.shares) <= SHARES_LIMIT:
        yield Finding(
            code=Code.INVALID_VALUE,
            message=f"route `{route.name}` has {len(route.shares)} backends; 1 to {SHARES_LIMIT} are possible",
            path=(*here, "backends"),
        )
        return
    seen = set()
    for index, share in enumerate(route.shares):
        at: Path = (*here, "backends", index)
        if share.service not in services:
            yield unknown_service(share.service, services, (*at, "service"), f"route `{route.name}`")
        else:
            yield from _reachable(route, services[share.service], (*at, "service"))
        if not 0 <= share.weight <= SHARE_CEILING:
            yield Finding(
                code=Code.INVALID_VALUE,
                message=f"weight {share.weight} is outside 0 to {SHARE_CEILING}",
                path=(*at, "weight"),
            )
        if (share.service, share.version) in seen:
            said = share.service if share.version is None else f"{share.service} version {share.version}"
            yield Finding(
                code=Code.NAME_TWICE,
                message=f"route `{route.name}` names {said} twice",
                path=at,
                hint="add the weights up in one backend",
            )
        seen.add((share.service, share.version))
    if not any(share.weight > 0 for share in route.shares):
        yield Finding(
            code=Code.INVALID_VALUE,
            message=f"every backend of route `{route.name}` has weight 0",
            path=(*here, "backends", 0, "weight"),
            hint="give at least one a weight above 0, or remove the route",
        )


def unknown_service(name: str, services: Iterable[str], path: Path, where: str) -> Finding:
    """The finding that `where` names a service that does not exist."""
    known = sorted(services)
    listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return Finding(
        code=Code.UNKNOWN_REFERENCE,
        message=f"unknown service `{name}` in {where}",
        path=path,
        suggestion=closest(name, known) or "",
        hint=f"services are: {listed}" if known else "there are no services",
    )


def _reachable(route: Route, service: Service, path: Path) -> Iterator[Finding]:
    if service.protocol is Protocol.TCP:
        yield Finding(
            code=Code.INVALID_VALUE,
            message=f"route `{route.name}` leads to `{service.name}`, which speaks tcp; routes carry HTTP",
            path=path,
            hint="call it through its own mesh port instead",
        )
    elif service.run is not None and service.run.port is None:
        yield Finding(
            code=Code.INVALID_VALUE,
            message=f"route `{route.name}` leads to `{service.name}`, which listens nowhere (port: none)",
            path=path,
            hint="give the service a port, or remove the route",
        )


def same_match(first: Match, second: Match) -> bool:
    """Whether some request fits both with equal precedence: same path and headers, a host and a method in common."""
    return (
        (first.path, first.exact) == (second.path, second.exact)
        and first.headers == second.headers
        and _meet(first.hosts, second.hosts)
        and _meet(first.methods, second.methods)
    )


def _meet(first: Iterable[str], second: Iterable[str]) -> bool:
    one, other = set(first), set(second)
    return bool(one & other) or (not one and not other)


def check_matches(routes: Iterable[Route]) -> Iterator[tuple[Route, Route]]:
    """Every pair of routes (earlier, later) that accept the same request; each later one is told once."""
    seen: dict[tuple[object, ...], list[Route]] = {}
    for route in routes:
        match = route.match
        group = seen.setdefault((match.path, match.exact, tuple(sorted(match.headers.items()))), [])
        for earlier in group:
            if same_match(earlier.match, match):
                yield earlier, route
                break
        group.append(route)


def describe(match: Match) -> str:
    """A match in words, for messages: `GET /api/orders/* (host a.example)`."""
    methods = ",".join(match.methods) + " " if match.methods else ""
    path = match.path if match.exact else f"{match.path.rstrip('/')}/*"
    extras = [f"host {host}" for host in match.hosts] + [f"{name}: {value}" for name, value in match.headers.items()]
    return f"{methods}{path}" + (f" ({', '.join(extras)})" if extras else "")
