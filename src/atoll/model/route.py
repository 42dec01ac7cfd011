"""A route: from request to upstream. Frozen words; matching them is `gateway.match`, rendering them `gateway.render`."""

from __future__ import annotations

import msgspec

from atoll.model.breaker import BreakerWord
from atoll.model.names import HeaderName, HeaderValue, HostPattern, PathText, RouteName, ServiceName, Token
from atoll.model.policy import Policy

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})


class Match(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request must have; everything given must hold.

    Precedence among the routes that accept a request: exact host, then `*.` host, then any host; exact path, then the
    longest prefix; a route that names the method, then one that does not; more headers, then fewer.
    """

    hosts: tuple[HostPattern, ...] = ()
    """Empty: any host."""
    path: PathText = PathText("/")
    exact: bool = False
    """True: the whole path; False: a prefix that ends on a segment boundary."""
    methods: tuple[str, ...] = ()
    """Upper case; empty: any method."""
    headers: dict[HeaderName, HeaderValue] = {}
    """Each named header has exactly this value."""


class Share(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of a route's traffic: the instances of a service, or only those of one version.

    A share without a version, beside a share of the same service with one, means the instances of all other versions.
    """

    service: ServiceName
    version: Token | None = None
    weight: int = 1
    """Relative, 0 to 1000000; the gateway rounds the shares of a route to whole percents."""


class Route(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fact `routes/<name>`."""

    name: RouteName
    match: Match = msgspec.field(default_factory=Match)
    shares: tuple[Share, ...]
    """At least one; with several, each request draws one by weight."""
    rewrite: PathText | None = None
    """Replaces the matched prefix (or exact path); None: the path goes on as it came."""
    policy: Policy = msgspec.field(default_factory=Policy)
    """What counts for its requests."""
    defaults: Policy = msgspec.field(default_factory=Policy)
    """What counts where neither it nor the service says otherwise: the project's `gateway.defaults`."""
    breaker_word: BreakerWord = msgspec.field(default_factory=BreakerWord)
    """What an operator said of the circuit breaker for its requests."""
    origin: str = "api"
    """Who wrote the fact: `api`, or the project's name."""
