"""The rules that every request passes: hygiene at the edge, routing by maps, the way into a backend.

The rules are fixed; all that a user writes is in the maps (`maps`), read through variables and never as text of a
rule. `txn.path` is the path before rewriting, `txn.at` the verdict (see `maps`).

A rule costs even where its condition fails, so they are ordered for the plain request: hygiene, one look at each kind
of host, and out, when that gives a route and the path is nothing odd. Everything else takes the long way: the path
normalised, methods, headers, falling through from host to host. A policy is a flag in the verdict and rules after
`_DRAW`; what concerns every request (a trace) belongs before `_SHORT_WAY`, the request log is no rule at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from atoll.gateway import failover, problem, request_log, trace
from atoll.gateway.config import NOBODY, ROUTES, SERVICES, GatewayConfig, map_path
from atoll.gateway.maps import ANY, HOSTS, REFUSED, HeaderNames, set_name
from atoll.gateway.problem import refusal
from atoll.gateway.quote import line, quote, section
from atoll.model import names
from atoll.settings import Gateway

GATEWAY, MESH = "edge:gateway", "edge:mesh"
"""The frontends for clients and for services."""
MESH_HOST = "127.0.0.1"
DRAW_COOKIE = "ATOLL_DRAW"
"""A client's lot at weighted routes to sticky services, so that it stays with one version."""

_ROUTES = map_path(ROUTES)
_SERVICES = map_path(SERVICES)

_LOOKS = (
    f"var(txn.host),concat(,txn.path,/?),map_beg({_ROUTES})",
    f"var(txn.host),field(2,.,0),concat({ANY},txn.path,/?),map_beg({_ROUTES})",
    f"str({ANY}),concat(,txn.path,/?),map_beg({_ROUTES})",
)
"""Where a path leads on this host, on its `*.` host, and on any host."""

# Once for a connection: making text of an address or of random bytes is dear.
_CONNECTION = """\
  tcp-request connection set-var(sess.client) src,concat()
  tcp-request connection set-var(sess.id) uuid()
"""

# Only where a route names a host is it worth a variable.
_HOST = f"""\
  http-request set-var(txn.path) path
  acl host_given req.hdr(host) -m len gt 0
  acl host_odd req.hdr(host) -m sub ~ / ? {quote('"')}
{refusal(problem.HOST_REFUSED, "host_odd or !host_given !HTTP_1.0")}
  acl hosts str({HOSTS}),map_str({_ROUTES}) -m found
  http-request set-var(txn.host) req.hdr(host),host_only,lower,rtrim(.) if hosts
"""

# What a client says about itself is dropped and said anew; so is everything that only concerns its own connection
# (a name listed in Connection would make the next hop drop that header; an upgrade to h2c would bypass all rules).
_OWNERSHIP = """\
  acl websocket req.hdr(upgrade) -m str -i websocket
  http-request del-header connection
  http-request add-header connection upgrade if websocket
  http-request del-header upgrade if !websocket
  http-request del-header keep-alive
  http-request del-header proxy -m beg
  http-request del-header x-atoll- -m beg
  http-request del-header x-forwarded- -m beg
  http-request del-header forwarded
  http-request add-header x-forwarded-for %[var(sess.client)]
  http-request add-header x-forwarded-proto http
  http-request set-header x-real-ip %[var(sess.client)]
"""

_REQUEST_ID = """\
  http-request set-header x-request-id %[var(sess.id)]-%rt if !{ req.hdr(x-request-id) -m reg ^[A-Za-z0-9._-]{1,128}$ }
"""

_SETTLED = "{ var(txn.at) -m end | r t p }"
"""The verdict is a route, and no draw is needed."""

_SHORT_WAY = f"""\
  acl led var(txn.at) -m found
  acl host_asked var(txn.host) -m found
  acl odd path -m sub % // /. {quote(chr(92))}
  http-request set-var(txn.at) {_LOOKS[0]} if host_asked
  http-request set-var(txn.at) {_LOOKS[1]} if host_asked !led
  http-request set-var(txn.at) {_LOOKS[2]} if !led
  http-request allow if {_SETTLED} !odd {{ path_beg / }}
"""

# Percent-decoding comes before the dots are resolved, else %2e%2e would be resolved by nobody here and by somebody
# behind. It would decode the query as well, so that is put back as it came.
_NORMALISE = f"""\
  acl path_odd path -m sub -i %2f %5c %00 %0a %0d %c0 %c1 /.; /..; {quote(chr(92))}
  acl path_odd path -m reg %([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$)
{refusal(problem.PATH_REFUSED, "odd path_odd or !{ path_beg / }")}
  http-request set-var(txn.query) query
  http-request normalize-uri percent-decode-unreserved
  http-request normalize-uri path-merge-slashes
  http-request normalize-uri path-strip-dot
  http-request normalize-uri path-strip-dotdot full
  http-request set-query %[var(txn.query)] if {{ var(txn.query) -m found }}
  http-request set-var(txn.path) path
  http-request unset-var(txn.at)
"""

_DRAW = f"""\
  http-request allow if {_SETTLED}
  acl weighted var(txn.at) -m end w k
  acl keeping var(txn.at) -m end k
  acl has_draw req.cook({DRAW_COOKIE}) -m reg ^[1-9]?[0-9]$
  http-request set-var(txn.draw) rand(100) if weighted
  http-request set-var(txn.new_draw) var(txn.draw) if keeping !has_draw
  http-request set-var(txn.draw) req.cook({DRAW_COOKIE}) if keeping has_draw
  http-request set-var(txn.at) var(txn.at),field(2,|),concat(~,txn.draw),map_str({_ROUTES}) if weighted
  http-response add-header set-cookie "{DRAW_COOKIE}=%[var(txn.new_draw)]; Path=/; HttpOnly; SameSite=Lax" if {{ var(txn.new_draw) -m found }}
"""

_WAY_IN = f"""\
  use_backend %[var(txn.at),field(3,|)]
  default_backend {NOBODY}
"""


_FAILOVER_SHORT = failover.rules(f"  http-request allow if {_SETTLED} !odd {{ path_beg / }}").rstrip()
# Last of all rules: what has no groups is done with.
_FAILOVER = failover.rules("  http-request allow").rstrip()
_FAILOVER_MESH = f"""\
{failover.ANSWER}{failover.CONDITIONS}  http-request allow if !{{ var(txn.at) -m end {failover.FLAG} }}
{failover.rules("  http-request allow")}"""


def gateway_frontend(config: GatewayConfig, settings: Gateway, *, logged: bool = False) -> str:
    """The listener for clients; when `logged`, with traces and the request log."""
    traces = [trace.CONNECTION, trace.ANSWER, request_log.http_format("gateway"), trace.RULES]
    parts = [
        section("frontend", GATEWAY, "from", "base"),
        line("bind", address(settings.host, settings.port)),
        line("maxconn", str(settings.max_connections)),
        line("option", "http-restrict-req-hdr-names", "reject"),
        _CONNECTION.rstrip(),
        *(rules.rstrip() for rules in (request_log.GATEWAY_RULES, *traces, request_log.ENDING_RULES) if logged),
        _HOST.rstrip(),
        _OWNERSHIP.rstrip(),
        (trace.REQUEST_ID if logged else _REQUEST_ID).rstrip(),
        _SHORT_WAY.rstrip(),
        *([failover.ANSWER + failover.CONDITIONS + _FAILOVER_SHORT] if config.fails_over else []),
        _NORMALISE.rstrip(),
        *_long_way(config.header_sets),
        _DRAW.rstrip(),
        *([_FAILOVER] if config.fails_over else []),
        _WAY_IN,
    ]
    return "\n".join(parts)


def mesh_frontend(config: GatewayConfig, settings: Gateway, *, logged: bool = False) -> str:
    """The loopback listener for services: by port, by `Host: orders`, or by `/svc/orders/…` with that prefix taken off.

    Paths and headers go on as they came, but for `x-atoll-*`: caller and callee are of one platform. When `logged`, with
    traces and the request log.
    """
    log = [request_log.ENDING_RULES, request_log.http_format("mesh"), trace.RULES, request_log.mesh_rules(_SERVICES)]
    traces = [trace.CONNECTION, *log]
    parts = [
        section("frontend", MESH, "from", "base"),
        line("bind", address(MESH_HOST, settings.mesh_port)),
        *(line("bind", f"{MESH_HOST}:{ports}") for ports in port_ranges(config, settings)),
        line("maxconn", str(settings.max_connections)),
        _CONNECTION.rstrip(),
        *(rules.rstrip() for rules in traces if logged),
        f"""\
  http-request set-var(txn.path) path
  acl known var(txn.at) -m found
  acl by_path var(txn.by_path) -m bool
  http-request set-var(txn.at) dst_port,map_str({_SERVICES})
  http-request set-var(txn.at) req.hdr(host),host_only,lower,map_str({_SERVICES}) if !known
  http-request set-var(txn.by_path) bool(true) if !known {{ path_beg /svc/ }}
  http-request set-var(txn.at) path,field(3,/),map_str({_SERVICES}) if by_path
{refusal(problem.UNKNOWN_SERVICE, "!known")}
  http-request replace-path ^/svc/[^/]*/?(.*)$ {quote("/" + chr(92) + "1")} if by_path
  http-request del-header x-atoll- -m beg
{trace.REQUEST_ID if logged else _REQUEST_ID}{_FAILOVER_MESH if config.fails_over else ""}{_WAY_IN}""",
    ]
    return "\n".join(parts)


def tcp_frontends(config: GatewayConfig, *, logged: bool = False) -> str:
    """A listener for each service that speaks bytes, on its mesh port."""
    parts = []
    for port, backend in config.tcp_ports:
        parts += [
            section("frontend", f"tcp:{port}", "from", "bytes"),
            line("bind", f"{MESH_HOST}:{port}"),
            *([request_log.tcp_format(port)] if logged else []),
            line("default_backend", backend),
            "",
        ]
    return "\n".join(parts)


def port_ranges(config: GatewayConfig, settings: Gateway) -> list[str]:
    """The mesh ports that speak HTTP, as `first-last`: all but those of tcp services."""
    taken = sorted({port for port, _ in config.tcp_ports})
    edges = [settings.mesh_ports - 1, *taken, settings.mesh_ports + settings.mesh_count]
    spans = ((before + 1, after - 1) for before, after in itertools.pairwise(edges))
    return [f"{first}-{last}" if first < last else str(first) for first, last in spans if first <= last]


def address(host: str, port: int) -> str:
    """host:port as `bind` and `server` take it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _long_way(header_sets: Iterable[HeaderNames]) -> list[str]:
    """The lookups that `maps` describes, for the exact host, the `*.` host and any host, until one gives a route."""
    sets = [tuple(names.header_name(name) for name in each) for each in header_sets]
    rules = [
        "  acl node var(txn.at) -m beg n",
        f"  acl routed var(txn.at) -m int lt {REFUSED}",
        "  acl refused var(txn.refused) -m bool",
    ]
    for at, each in enumerate(sets):
        rules += _header_values(f"txn.h{at}", each)
    for turn, lookup in enumerate(_LOOKS):
        if turn:
            rules.append(f"  http-request set-var(txn.refused) bool(true) if {{ var(txn.at) -m int {REFUSED} }}")
        rules.append(f"  http-request set-var(txn.at) {lookup}{' if !routed' if turn else ''}")
        rules += _at_node(turn, sets)
    allow = ",".join(f"%[{lookup},field(2,|)]" for lookup in _LOOKS)
    rules += [
        f"  http-request set-var(txn.refused) bool(true) if {{ var(txn.at) -m int {REFUSED} }}",
        f"  http-request set-var-fmt(txn.allow) {allow} if refused !routed",
        r"""  http-request set-var(txn.allow) 'var(txn.allow),regsub("^,+|,+$","",g),regsub(",,+",",",g)' if refused !routed""",
        refusal(problem.METHOD_NOT_ALLOWED, "refused !routed"),
        refusal(problem.NO_ROUTE, "!routed"),
    ]
    return rules


def _at_node(turn: int, sets: Sequence[HeaderNames]) -> Iterator[str]:
    """What turns the node that a path led to into a verdict: by method, then by each combination of headers."""
    if not sets:
        yield f"  http-request set-var(txn.at) method,concat(~,txn.at),field(1,|),map_str({_ROUTES}) if node"
        yield f"  http-request set-var(txn.at) str({ANY}),concat(~,txn.at),field(1,|),map_str({_ROUTES}) if node"
        return
    key = f"txn.k{turn}"
    yield f"  http-request set-var({key}) method,concat(~,txn.at),field(1,|) if node"
    yield (
        f"  http-request set-var({key}) str({ANY}),concat(~,txn.at),field(1,|)"
        f" if node !{{ var({key}),map_str({_ROUTES}) -m found }}"
    )
    yield f"  http-request set-var(txn.at) var({key}),map_str({_ROUTES}) if node"
    for at, each in enumerate(sets):
        here = f"{{ var({key}) -m found }}"
        found = f"var({key}),concat(?{set_name(each)}?,txn.h{at}),map_str({_ROUTES})"
        yield f"  http-request set-var(txn.better) {found} if {here} {{ var(txn.h{at}) -m found }}"
        yield f"  http-request set-var(txn.at) var(txn.better) if {here} {{ var(txn.better),sub(txn.at) lt 0 }}"


def _header_values(variable: str, each: HeaderNames) -> list[str]:
    """The values of the headers in one variable, joined by `|`; not set when one is missing."""
    first, *rest = each
    rules = [f"  http-request set-var({variable}) req.fhdr({first})"]
    for name in rest:
        rules += [
            f"  http-request set-var(txn.next) req.fhdr({name}) if {{ var({variable}) -m found }}",
            f"  http-request set-var({variable}) var({variable}),concat(|,txn.next) if {{ req.fhdr({name}) -m found }}",
            f"  http-request unset-var({variable}) if !{{ req.fhdr({name}) -m found }}",
        ]
    return rules
