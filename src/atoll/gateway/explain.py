"""Why a request goes where it goes: which route takes it, why the others do not, and which instances could get it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from atoll.errors import BadRequest
from atoll.gateway.canonical import canonical_host, canonical_path
from atoll.gateway.match import (
    Outcome,
    Request,
    accepts_headers,
    accepts_method,
    accepts_path,
    decide,
    host_rank,
    path_rank,
    percents,
    rewritten,
)
from atoll.gateway.upstream import Upstream, upstream_of
from atoll.kit.text import scrub
from atoll.model.names import InstanceId, RouteName, ServiceName
from atoll.model.route import Match, Route
from atoll.model.service import ROUTABLE, Instance, Mode, State
from atoll.model.snapshot import Snapshot

METHOD_LIMIT = 32


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that could get the request."""

    instance: InstanceId
    endpoint: str
    weight: int
    """Relative to the others of its upstream; 0 takes no new requests."""
    state: State


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One share of the route that takes the request."""

    upstream: str
    service: ServiceName
    percent: int
    candidates: tuple[Candidate, ...]


class PassedOver(msgspec.Struct, frozen=True, kw_only=True):
    """A route that does not take the request, and every reason."""

    route: RouteName
    reasons: tuple[str, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on one request, with its reasons."""

    host: str
    path: str
    """As the gateway reads it, normalised."""
    method: str
    status: int
    """400, 404 and 405 are the gateway's own answers; 200 stands for whatever the instance says; 503: no instance."""
    refusal: str = ""
    """With 400: what is wrong with host or path."""
    route: RouteName | None = None
    sent_path: str | None = None
    """The path that the instance gets, with the query."""
    allow: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    others: tuple[PassedOver, ...] = ()
    """In the order of precedence."""


def explain(snapshot: Snapshot, method: str, url: str, headers: Mapping[str, str] | None = None) -> Explanation:
    """What the gateway does with `method url`; `url` is absolute, or a path (then for the host `localhost`).

    Raises:
        BadRequest: that is no request at all.
    """
    asked = asked_of(method, url, headers or {})
    try:
        request = Request(
            host=canonical_host(asked.host), path=canonical_path(asked.path), method=asked.method, headers=asked.headers
        )
    except BadRequest as refused:
        return Explanation(host="", path=asked.path, method=asked.method, status=400, refusal=refused.detail)
    routes = sorted(snapshot.routes.values(), key=lambda route: _order(route, request))
    decision = decide(routes, request)
    others = tuple(
        PassedOver(route=route.name, reasons=why_not(route, request, decision.route))
        for route in routes
        if route is not decision.route
    )
    if decision.route is None:
        status = 405 if decision.outcome is Outcome.METHOD_NOT_ALLOWED else 404
        return Explanation(
            host=request.host,
            path=request.path,
            method=request.method,
            status=status,
            allow=tuple(sorted(decision.allow)),
            others=others,
        )
    parts = tuple(_parts(snapshot, decision.route))
    reachable = any(part.percent and any(each.weight for each in part.candidates) for part in parts)
    return Explanation(
        host=request.host,
        path=request.path,
        method=request.method,
        status=200 if reachable else 503,
        route=decision.route.name,
        sent_path=rewritten(decision.route, request.path) + asked.query,
        parts=parts,
        others=others,
    )


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a person writes it; `query` with its `?`, header names in lower case."""

    method: str
    host: str
    path: str
    query: str
    headers: dict[str, str]


def asked_of(method: str, url: str, headers: Mapping[str, str]) -> Asked:
    """What is asked for; the Host header wins over the URL's.

    Raises:
        BadRequest: no method, or neither a path nor an http URL.
    """
    said = {name.lower(): value for name, value in headers.items()}
    if url.startswith("/"):  # urlsplit would take `//api` for a host
        host, rest = "", url.partition("#")[0]
    else:
        host, rest = _host_and_rest(url)
    path, mark, query = rest.partition("?")
    if not path or not (method.isascii() and method.isalpha() and len(method) <= METHOD_LIMIT):
        raise BadRequest(
            f"{scrub(method, limit=20)} {scrub(url, limit=80)!r} is not a request",
            hint="write GET /api/orders, or GET http://shop.test/api/orders",
        )
    host = said.get("host") or host or "localhost"
    return Asked(method=method.upper(), host=host, path=path, query=mark + query, headers={"host": host, **said})


def _host_and_rest(url: str) -> tuple[str, str]:
    """Of an http URL; two empty texts when it is none."""
    try:
        split = urlsplit(url)
    except ValueError:
        return "", ""
    if split.scheme not in {"http", "https"} or not split.netloc:
        return "", ""
    return split.netloc.rpartition("@")[2], (split.path or "/") + (f"?{split.query}" if split.query else "")


def why_not(route: Route, request: Request, winner: Route | None) -> tuple[str, ...]:
    """Every reason why `route` does not take `request`."""
    match = route.match
    reasons = []
    if host_rank(match, request.host) is None:
        reasons.append(f"host: {request.host} is not {' or '.join(match.hosts)}")
    if not accepts_path(match, request.path):
        kind = "is not exactly" if match.exact else "is not under"
        reasons.append(f"path: {request.path} {kind} {match.path}")
    if not accepts_method(match, request.method):
        reasons.append(f"method: {request.method} is not {' or '.join(match.methods)}")
    if not accepts_headers(match, request.headers):
        reasons += _header_reasons(match, request)
    if not reasons and winner is not None:
        reasons.append(f"accepts this too, but {winner.name} {_advantage(winner, route, request)}")
    return tuple(reasons)


def _order(route: Route, request: Request) -> tuple[int, tuple[bool, int, bool, int, str]]:
    """The order of precedence; routes for other hosts last."""
    rank = host_rank(route.match, request.host)
    return (3 if rank is None else rank), path_rank(route)


def _header_reasons(match: Match, request: Request) -> list[str]:
    reasons = []
    for name, value in match.headers.items():
        given = request.headers.get(name)
        if given is None:
            reasons.append(f"header: {name} is missing; {value} is asked for")
        elif given != value:
            reasons.append(f"header: {name} is {scrub(given, limit=80)!r}, not {value}")
    return reasons


def _advantage(winner: Route, route: Route, request: Request) -> str:
    if host_rank(winner.match, request.host) != host_rank(route.match, request.host):
        return "names the host more exactly"
    left, right = path_rank(winner), path_rank(route)
    said = ("names the exact path", "has the longer path", "names the method", "asks for more headers", "comes first")
    return next(words for words, one, other in zip(said, left, right, strict=True) if one != other)


def _parts(snapshot: Snapshot, route: Route) -> list[Part]:
    parts = []
    for share, percent in zip(route.shares, percents(route.shares), strict=True):
        upstream = upstream_of(route, share)
        found = candidates(snapshot, upstream)
        parts.append(Part(upstream=str(upstream), service=share.service, percent=percent, candidates=found))
    return parts


def _works(snapshot: Snapshot, instance: Instance) -> bool:
    """Whether it does not stand by while another one leads."""
    service, leader = snapshot.services.get(instance.service), snapshot.leaders.get(instance.service)
    if service is None or service.mode is not Mode.ACTIVE_PASSIVE:
        return True
    return leader is not None and leader.instance == instance.id


def candidates(snapshot: Snapshot, upstream: Upstream) -> tuple[Candidate, ...]:
    """The instances of an upstream."""
    return tuple(
        Candidate(
            instance=each.id,
            endpoint=f"[{each.host}]:{each.port}" if ":" in each.host else f"{each.host}:{each.port}",
            weight=each.weight if each.state in ROUTABLE and _works(snapshot, each) else 0,
            state=each.state,
        )
        for each in snapshot.of(upstream.service)
        if upstream.has(each)
    )
