"""What a drill's load asks for: the ways that lead to a service, and the request that is sent on one of them. Pure.

Only requests that change nothing: GET, and for gRPC its health question. A route's own prefix may answer 404; whoever
aims tries the candidates in order and takes the first that is answered well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

import msgspec

from atoll.model.names import ServiceName
from atoll.model.route import Route
from atoll.model.service import CheckKind, Protocol, Service

GRPC_PATH = "/grpc.health.v1.Health/Check"
_SAFE = "/?&=%:@!$'()*+,;~-._[]"


class Place(msgspec.Struct, frozen=True):
    """A listener of the gateway or the mesh."""

    host: str
    port: int


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """One request, ready to be sent again and again."""

    way: str
    """`route:NAME`, `mesh`, or `CALLER>CALLEE`: how it gets to the service."""
    place: Place
    path: str
    host: str
    """The `Host` it names."""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    traced: bool = False
    """Each request begins a trace of its own, so that one without an answer can be looked up as well."""

    @property
    def text(self) -> str:
        """For people."""
        through = "the mesh" if self.way == "mesh" else self.way.replace("route:", "route ")
        return f"{self.method} {self.path} through {through}"

    def request(self, trace: str = "") -> bytes:
        """As it is sent; `trace` is 32 hex digits."""
        length = (("Content-Length", str(len(self.body))),) if self.body else ()
        named = (("Host", self.host), ("User-Agent", "atoll-drill"), ("Accept", "*/*"), *self.headers, *length)
        named += (("traceparent", f"00-{trace}-{trace[:16]}-01"),) if trace else ()
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in named)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + self.body


def by_path(path: str, place: Place, *, way: str, host: str = "") -> Aim:
    """A GET of a path that the user gave."""
    return Aim(way=way, place=place, path=quote(path, safe=_SAFE), host=host or _host(place))


def candidates(service: Service, routes: Iterable[Route], gateway: Place | None, mesh: Place | None) -> Iterator[Aim]:
    """Aims at a service, the best first: its routes (their own path, then with its check's path behind), then the mesh."""
    if service.protocol is Protocol.TCP:
        return
    for route in sorted(routes, key=lambda one: one.name):
        if gateway is not None and leads(route, service.name):
            yield from route_aims(service, route, gateway)
    if mesh is not None:
        yield mesh_aim(service, mesh)


def leads(route: Route, service: ServiceName) -> bool:
    """Whether all of the route's traffic goes to the service, also with a GET (or a gRPC call)."""
    return all(share.service == service for share in route.shares)


def route_aims(service: Service, route: Route, gateway: Place) -> Iterator[Aim]:
    """What may be asked through one route."""
    match = route.match
    host = match.hosts[0].replace("*", "drill", 1) if match.hosts else _host(gateway)
    headers = tuple((str(name), str(value)) for name, value in sorted(match.headers.items()))
    way = f"route:{route.name}"
    if service.protocol is Protocol.GRPC:
        if GRPC_PATH.startswith(match.path) and not match.exact:
            yield msgspec.structs.replace(_grpc(service, gateway, way, host), headers=(*headers, *_GRPC))
        return
    if match.methods and "GET" not in match.methods:
        return
    paths = [str(match.path)]
    if not match.exact and service.check.kind is CheckKind.HTTP:
        paths.append(f"{match.path.rstrip('/')}{service.check.path}")
    for path in dict.fromkeys(paths):
        yield msgspec.structs.replace(by_path(path, gateway, way=way, host=host), headers=headers)


def mesh_aim(service: Service, mesh: Place, *, way: str = "mesh") -> Aim:
    """What may be asked through the mesh: what the service's own health check asks."""
    if service.protocol is Protocol.GRPC:
        return _grpc(service, mesh, way, str(service.name))
    path = service.check.path if service.check.kind is CheckKind.HTTP else "/"
    return by_path(path, mesh, way=way, host=str(service.name))


_GRPC = (("Content-Type", "application/grpc"), ("TE", "trailers"))


def _grpc(service: Service, place: Place, way: str, host: str) -> Aim:
    asked = service.check.grpc_service.encode()[:120] if service.check.kind is CheckKind.GRPC else b""
    message = b"\x0a" + bytes([len(asked)]) + asked if asked else b""
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return Aim(way=way, place=place, path=GRPC_PATH, host=host, method="POST", headers=_GRPC, body=body)


def _host(place: Place) -> str:
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
