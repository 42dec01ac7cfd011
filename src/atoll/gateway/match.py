"""What routing means: the reference against which the compiled maps and HAProxy itself are tested.

Among the routes whose host, path, method and headers all accept a request, one wins by: exact host, then `*.` and one
label, then any host; exact path, then the longest prefix; a route that names the method, then one that does not; more
headers, then fewer; the smaller name. A route that does not accept is passed over, so a request falls through to the
next best. Without an accepting route the answer is 405 when only the method was refused, else 404.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from atoll.model.route import Match, Route, Share

DRAWS = 100
"""A weighted route draws one of so many lots per request: shares are whole percents."""

Rank = tuple[int, bool, int, bool, int, str]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as routing sees it: canonical host (lower case, no port, no trailing dot) and normalised path."""

    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = {}
    """Names in lower case; of a repeated header the last one counts."""


class Outcome(StrEnum):
    """How routing ends."""

    ROUTED = "routed"
    NO_ROUTE = "no-route"
    METHOD_NOT_ALLOWED = "method-not-allowed"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The route that takes the request, or why none does."""

    outcome: Outcome
    route: Route | None = None
    allow: frozenset[str] = frozenset()
    """With METHOD_NOT_ALLOWED: the methods that routes on this host and path name."""


def decide(routes: Iterable[Route], request: Request) -> Decision:
    """Which route takes `request`."""
    ranked: list[tuple[Rank, Route]] = []
    allow: set[str] = set()
    only_method = False
    for route in routes:
        match = route.match
        host = host_rank(match, request.host)
        if host is None or not accepts_path(match, request.path):
            continue
        allow.update(match.methods)
        if not accepts_headers(match, request.headers):
            continue
        if accepts_method(match, request.method):
            ranked.append(((host, *path_rank(route)), route))
        else:
            only_method = True
    if ranked:
        return Decision(outcome=Outcome.ROUTED, route=min(ranked, key=lambda found: found[0])[1])
    if only_method:
        return Decision(outcome=Outcome.METHOD_NOT_ALLOWED, allow=frozenset(allow))
    return Decision(outcome=Outcome.NO_ROUTE)


def path_rank(route: Route) -> tuple[bool, int, bool, int, str]:
    """Where `route` stands among routes of one host pattern that accept the same path; smaller wins."""
    match = route.match
    return not match.exact, -len(match.path), not match.methods, -len(match.headers), route.name


def host_rank(match: Match, host: str) -> int | None:
    """0 when a host is named exactly, 1 by `*.`, 2 when any host will do; None when the host is not accepted."""
    if not match.hosts:
        return 2
    if host in match.hosts:
        return 0
    _, dot, rest = host.partition(".")
    return 1 if dot and f"*.{rest}" in match.hosts else None


def accepts_path(match: Match, path: str) -> bool:
    """Whether `path` is the exact path, or lies under the prefix on a segment boundary."""
    if match.exact:
        return path == match.path
    return match.path == "/" or path == match.path or path.startswith(match.path + "/")


def accepts_method(match: Match, method: str) -> bool:
    """Whether the method is named, or none is."""
    return not match.methods or method in match.methods


def accepts_headers(match: Match, headers: Mapping[str, str]) -> bool:
    """Whether every header that the route names has exactly its value."""
    return all(headers.get(name) == value for name, value in match.headers.items())


def percents(shares: Sequence[Share]) -> tuple[int, ...]:
    """The shares in whole percents that sum to 100 (largest remainder; the earlier share on a tie).

    When every weight is 0 the first share gets all: a route always leads somewhere.
    """
    total = sum(share.weight for share in shares)
    if total == 0:
        return (DRAWS, *(0 for _ in shares[1:]))
    exact = [share.weight * DRAWS / total for share in shares]
    floors = [share.weight * DRAWS // total for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda at: (floors[at] - exact[at], at))
    for at in by_remainder[: DRAWS - sum(floors)]:
        floors[at] += 1
    return tuple(floors)


def drawn(route: Route, draw: int) -> Share:
    """The share that `draw` (0 to 99) falls on; earlier shares take the lower numbers.

    So a client that keeps its draw stays on the last share while that share grows.
    """
    edge = 0
    for share, percent in zip(route.shares, percents(route.shares), strict=True):
        edge += percent
        if draw < edge:
            return share
    raise ValueError(f"draw {draw} is not 0-{DRAWS - 1}")


def rewritten(route: Route, path: str) -> str:
    """The path the instance gets: the matched prefix (or exact path) replaced, everything after it byte for byte."""
    if route.rewrite is None:
        return path
    cut, put = head(route.match.path), head(route.rewrite)
    return put + path[len(cut) :] or "/"


def head(prefix: str) -> str:
    """A prefix as what stands before the rest of a path: `/` is nothing, `/api` is itself."""
    return "" if prefix == "/" else prefix
