"""Why a request goes where it goes: the deciding route, every other route with its reason, the instances behind. Pure.

The decision itself is `gateway.match`'s; here it is put into words. A URL becomes the request that routing sees by the
same steps that HAProxy takes (`gateway.frontend`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import msgspec

from atoll.errors import InvalidValue
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
from atoll.gateway.upstream import upstream_of
from atoll.kit.text import scrub
from atoll.model.route import METHODS, Route
from atoll.model.service import ROUTABLE
from atoll.model.snapshot import Snapshot

_REFUSED = re.compile(r"%2f|%5c|%00|%0a|%0d|%c0|%c1|/\.;|/\.\.;|\\", re.IGNORECASE)
_UNRESERVED = re.compile(r"%([0-9A-Fa-f]{2})")
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")


class Answerer(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that may get the request. `takes`: whether it is one that the gateway sends requests to."""

    instance: str
    endpoint: str
    state: str
    takes: bool


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream of the deciding route: `orders`, `orders@v2`, `orders@-v2`."""

    upstream: str
    percent: int
    instances: tuple[Answerer, ...] = ()


class PassedOver(msgspec.Struct, frozen=True):
    """A route that does not take the request, and why."""

    route: str
    reason: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one request."""

    method: str
    host: str
    path: str
    """As routing sees it."""
    status: int | None = None
    """What the gateway answers by itself when no route takes the request."""
    route: str | None = None
    sent_path: str = ""
    """As the instance gets it."""
    parts: tuple[Part, ...] = ()
    others: tuple[PassedOver, ...] = ()
    """In the order of precedence."""
    allow: tuple[str, ...] = ()
    """With 405: the methods that would do."""


def request_of(method: str, url: str, headers: Mapping[str, str], *, host: str) -> Request | None:
    """The request as routing sees it; None when the gateway refuses its path. `host`: when neither URL nor headers say.

    Raises:
        InvalidValue: no method, or neither a path nor an http URL.
    """
    if not _TOKEN.fullmatch(method):
        raise InvalidValue(
            f"{scrub(method, limit=40)!r} is not a method", hint=f"methods are: {', '.join(sorted(METHODS))}"
        )
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        parts = urlsplit(url if "://" in url else f"http://{lowered.get('host') or host}{url}")
        named = parts.hostname
    except ValueError:
        parts, named = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not named or not (url.startswith("/") or "://" in url):
        raise InvalidValue(
            f"{scrub(url, limit=120)!r} is neither a path nor a URL", hint="write /api/orders, or http://shop.test/api"
        )
    seen = urlsplit(f"//{lowered['host']}").hostname if lowered.get("host") else named
    path = normalised(parts.path or "/")
    if path is None:
        return None
    return Request(host=(seen or named).rstrip("."), path=path, method=method.upper(), headers=lowered)


def normalised(path: str) -> str | None:
    """The path after HAProxy's steps: plain characters decoded, slashes merged, dots resolved; None: it is refused."""
    if _REFUSED.search(path) or _BROKEN.search(path):
        return None
    if "%" not in path and "//" not in path and "/." not in path:
        return path
    decoded = _UNRESERVED.sub(lambda found: _plain(found[1], found[0]), path)
    segments: list[str] = []
    pieces = re.sub(r"/{2,}", "/", decoded).split("/")[1:]
    for position, piece in enumerate(pieces):
        last = position == len(pieces) - 1
        if piece == "..":
            segments = segments[:-1]
        if piece in {".", ".."}:
            segments += [""] if last else []
        else:
            segments.append(piece)
    return "/" + "/".join(segments)


def _plain(digits: str, written: str) -> str:
    character = chr(int(digits, 16))
    return character if character in _PLAIN else written


def explain(facts: Snapshot, request: Request) -> Explanation:
    """What becomes of `request` under these facts."""
    routes = list(facts.routes.values())
    decision = decide(routes, request)
    winner = decision.route
    status = {Outcome.NO_ROUTE: 404, Outcome.METHOD_NOT_ALLOWED: 405}.get(decision.outcome)
    return Explanation(
        method=request.method,
        host=request.host,
        path=request.path,
        status=status,
        route=winner.name if winner is not None else None,
        sent_path=rewritten(winner, request.path) if winner is not None else "",
        parts=tuple(_parts(facts, winner)) if winner is not None else (),
        others=tuple(
            PassedOver(route.name, why_not(route, request, winner))
            for route in sorted(routes, key=lambda route: _order(route, request))
            if winner is None or route.name != winner.name
        ),
        allow=tuple(sorted(decision.allow)) if decision.outcome is Outcome.METHOD_NOT_ALLOWED else (),
    )


def _order(route: Route, request: Request) -> tuple[int, tuple[bool, int, bool, int, str]]:
    rank = host_rank(route.match, request.host)
    return (3 if rank is None else rank), path_rank(route)


def _parts(facts: Snapshot, route: Route) -> Iterable[Part]:
    for share, percent in zip(route.shares, percents(route.shares), strict=True):
        upstream = upstream_of(route, share)
        yield Part(
            upstream=str(upstream),
            percent=percent,
            instances=tuple(
                Answerer(
                    instance=instance.id,
                    endpoint=f"{instance.host}:{instance.port}",
                    state=str(instance.state),
                    takes=instance.state in ROUTABLE and instance.weight > 0,
                )
                for instance in facts.of(share.service)
                if upstream.has(instance)
            ),
        )


def why_not(route: Route, request: Request, winner: Route | None) -> str:
    """Why `route` does not take the request."""
    match = route.match
    if host_rank(match, request.host) is None:
        return f"host {request.host} is not {' or '.join(match.hosts)}"
    if not accepts_path(match, request.path):
        return f"path {request.path} is not " + (match.path if match.exact else f"{match.path.rstrip('/')}/*")
    if not accepts_headers(match, request.headers):
        wrong = next(name for name, value in match.headers.items() if request.headers.get(name) != value)
        given = request.headers.get(wrong)
        return f"header {wrong} is {given or 'absent'}, not {match.headers[wrong]}"
    if not accepts_method(match, request.method):
        return f"method {request.method} is not {' or '.join(match.methods)}"
    return f"takes it too, but {_better(route, winner, request)}" if winner is not None else "takes it"


def _better(route: Route, winner: Route, request: Request) -> str:
    """In what the winner is ahead: the first difference in the order of precedence."""
    reasons = ("names the host more exactly", "names the exact path", "has the longer path", "names the method")
    mine, its = _order(route, request), _order(winner, request)
    flat_mine, flat_its = (mine[0], *mine[1]), (its[0], *its[1])
    position = next(at for at in range(len(flat_mine)) if flat_mine[at] != flat_its[at])
    words = (*reasons, "names more headers", "comes first by name")
    return f"{winner.name} {words[position]}"
