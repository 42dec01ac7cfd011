"""Routes compiled to the entries of one map, so that a fixed set of rules decides in a constant number of lookups.

One file holds everything, because one commit then replaces everything at once. What is in capitals in its keys can
not be in a request's host, which is looked up in lower case and refused with a `/`, `?` or `~`:

`<host><path>/` and `<host><path>/?`
    a prefix and an exact path. A request asks for the longest key that begins `<host><path>/?`; `?` cannot be in a
    path. `<domain>ANY` stands for the host `*.<domain>`, and `ANY` for any host; they are asked in this order, as
    long as none has given a route. Under each of them, shorter prefixes are compiled into the longer ones, so one
    look also finds what a request falls through to.
`HOSTS`
    is there when any route names a host; without it only `ANY` is asked, which saves two lookups of three.
`<METHOD>~<node>`, `ANY~<node>`
    where methods or headers matter a path leads to a node. This is the best route there that names no header, for a
    method that somebody names and for all others.
`<METHOD>~<node>?<names>?<values>`
    the best route there that names exactly these headers. It wins over the one before when its rank is smaller.
`<route>~<draw>`
    the share of a weighted route that a draw (0 to 99) falls on.

A value is a verdict, `rank|route|backend|service|rewrite|timeout|policy|flags`, or a node,
`n<number>|<methods to allow>|n`. A verdict that ends in `|`, `r`, `t` or `p` is a route that nothing else need be asked
about. The flags are `r` when the path is rewritten, `t` when there is a timeout and `p` when there is a line in the
policies map, in this order; or only `w` when a draw decides and `wk` when the client keeps its draw (sticky services).
A verdict of whom a fallback is said is one that leads to DOOR (or GRPC_DOOR), with the verdict proper as its eighth field and on, in which
`policy` is also the key of the fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from atoll.gateway.config import DOOR, GRPC_DOOR, Entries
from atoll.gateway.match import DRAWS, drawn, head, path_rank
from atoll.model.route import Match, Route, Share

REFUSED = 1_000_000
"""Rank of the verdict "only the method is wrong" (405); every route's rank is smaller."""
NOWHERE = 2_000_000
"""Rank of the verdict "no route" (404)."""
ANY = "ANY"
"""Any host, any method."""
HOSTS = "HOSTS"
"""The key that says that some route names a host."""

REWRITTEN = r'%[var(txn.at),field(5,|),concat(^,txn.path),regsub("^(?:(/)|([^^]*))\^([^^]*)\^\3(?(1)/?)","\1\2")]'
"""The path that goes on, of a verdict that rewrites it."""

HeaderNames = tuple[str, ...]


class Goal(msgspec.Struct, frozen=True):
    """Where a share leads and what counts there: a backend section of a service."""

    backend: str
    service: str
    sticky: bool = False
    """The service keeps its clients."""
    timeout: int = 0
    """Milliseconds; 0: the gateway's own."""
    policy: str = ""
    """Key of its line in the policies map; empty: it needs none."""
    guard: str = ""
    """Key of its line in the fallbacks map; empty: nothing is said of one."""
    failover: bool = False
    """The service has groups that are asked first."""
    grpc: bool = False
    """It speaks gRPC."""


Goals = Callable[[Route, Share], Goal]


def compile_routes(routes: Iterable[Route], goals: Goals) -> Entries:
    """The entries of the routes map; `goals` tells where the share of a route leads."""
    tables: dict[str, list[Route]] = {}
    ordered = sorted(routes, key=lambda route: route.name)
    for route in ordered:
        for host in route.match.hosts or (ANY,):
            tables.setdefault(host_key(host), []).append(route)
    entries: list[tuple[str, str]] = [(HOSTS, "1")] if tables.keys() - {ANY} else []
    numbers = iter(range(1, 1 << 30))
    for host in sorted(tables):
        entries += _table(host, tables[host], goals, numbers)
    for route in ordered:
        if len(route.shares) > 1:
            entries += ((f"{route.name}~{draw}", verdict(0, route, goals, drawn(route, draw))) for draw in range(DRAWS))
    return tuple(entries)


def header_sets(routes: Iterable[Route]) -> tuple[HeaderNames, ...]:
    """The combinations of header names that routes ask for, each sorted."""
    return tuple(sorted({header_names(route.match) for route in routes if route.match.headers}))


def header_names(match: Match) -> HeaderNames:
    """The names a route asks for, in the order in which their values stand in a key."""
    return tuple(sorted(match.headers))


def set_name(names: HeaderNames) -> str:
    """A combination of header names as it stands in a key."""
    return "+".join(names)


def host_key(host: str) -> str:
    """A host pattern as it stands before the path in a key."""
    return f"{host[2:]}{ANY}" if host.startswith("*.") else host


def verdict(rank: int, route: Route, goals: Goals, share: Share | None = None) -> str:
    """What the map says of a request that `route` (with a share: the share drawn of it) takes."""
    if share is None and len(route.shares) > 1:
        keep = any(goals(route, each).sticky for each in route.shares)
        return f"{rank}|{route.name}||||||{'wk' if keep else 'w'}"
    return _leading(rank, route.name, goals(route, share or route.shares[0]), _rewrite(route))


def _rewrite(route: Route) -> str:
    """`<put>^<cut>`, or empty when the path goes on as it came."""
    if route.rewrite is None or route.rewrite == route.match.path:
        return ""
    return f"{route.rewrite}^{head(route.match.path)}"


def service_verdict(goal: Goal, call: str = "") -> str:
    """What the services map says: a verdict without a route, or with a call's name in its place."""
    return _leading(0, call, goal, "")


def _leading(rank: int, name: str, goal: Goal, rewrite: str) -> str:
    flags = (
        ("r" if rewrite else "")
        + ("t" if goal.timeout else "")
        + ("p" if goal.policy else "")
        + ("f" if goal.failover else "")
    )
    who = goal.policy or goal.guard
    proper = f"{name}|{goal.backend}|{goal.service}|{rewrite}|{goal.timeout}|{who}|{flags}"
    door = GRPC_DOOR if goal.grpc else DOOR
    return f"{rank}|{name}|{door}|{goal.service}||0||0|{proper}" if goal.guard else f"{rank}|{proper}"


def _table(host: str, routes: list[Route], goals: Goals, numbers: Iterator[int]) -> Iterator[tuple[str, str]]:
    prefixes: dict[str, list[Route]] = {}
    exacts: dict[str, list[Route]] = {}
    for route in routes:
        (exacts if route.match.exact else prefixes).setdefault(route.match.path, []).append(route)
    for path in sorted(prefixes):
        candidates = [route for above in _ancestors(path) for route in prefixes.get(above, ())]
        yield from _node(host + head(path) + "/", candidates, goals, numbers)
    for path in sorted(exacts):
        candidates = exacts[path] + [route for above in _ancestors(path) for route in prefixes.get(above, ())]
        yield from _node(f"{host}{path}/?", candidates, goals, numbers)


def _ancestors(path: str) -> Iterator[str]:
    yield "/"
    end = path.find("/", 1)
    while end != -1:
        yield path[:end]
        end = path.find("/", end + 1)
    if path != "/":
        yield path


def _node(key: str, candidates: list[Route], goals: Goals, numbers: Iterator[int]) -> Iterator[tuple[str, str]]:
    """The entry at `key` for routes that all accept its path, and what it leads to."""
    ranked: list[Route] = []
    for route in sorted(candidates, key=path_rank):
        ranked.append(route)
        if not route.match.methods and not route.match.headers:
            break  # takes whatever came so far: nothing after it is ever reached
    if len(ranked) == 1 and not ranked[0].match.methods and not ranked[0].match.headers:
        yield key, verdict(0, ranked[0], goals)
        return
    number = next(numbers)
    named = {method for route in ranked for method in route.match.methods}
    yield key, f"n{number}|{','.join(sorted(named))}|n"
    for method in [*sorted(named), ANY]:
        yield from _by_headers(f"{method}~n{number}", method, ranked, goals)


def _by_headers(key: str, method: str, ranked: list[Route], goals: Goals) -> Iterator[tuple[str, str]]:
    best: dict[tuple[HeaderNames, str], str] = {}
    refused: set[tuple[HeaderNames, str]] = set()
    for rank, route in enumerate(ranked):
        asked = _asked(route.match)
        if not route.match.methods or method in route.match.methods:
            best.setdefault(asked, verdict(rank, route, goals))
            if not route.match.headers:
                break  # no header is needed from here on
        else:
            refused.add(asked)
    nothing_asked = ((), "")
    if nothing_asked not in best:
        best[nothing_asked] = f"{REFUSED}|405" if nothing_asked in refused else f"{NOWHERE}|404"
        if nothing_asked not in refused:
            for asked in refused:
                best.setdefault(asked, f"{REFUSED}|405")
    for names, values in sorted(best):
        yield (f"{key}?{set_name(names)}?{values}" if names else key), best[names, values]


def _asked(match: Match) -> tuple[HeaderNames, str]:
    names = header_names(match)
    return names, "|".join(match.headers[name] for name in names)  # type: ignore[index]
