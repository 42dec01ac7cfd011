"""GatewayConfig and Settings written out as HAProxy's files. Pure: the same config gives the same bytes.

Everything of ours is text here and in `frontend`, `backend`, `problem`; everything else passes `quote`. A written file
is the whole truth: HAProxy started from it needs nobody to tell it more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from atoll.gateway import breaker, budget, injection, leading, limits
from atoll.gateway.backend import (
    ANSWER_RULES,
    CHECK_RULES,
    backend_section,
    defaults_of,
    milliseconds,
    request_rules,
    slot_section,
)
from atoll.gateway.closed import closed_section
from atoll.gateway.config import (
    MAPS,
    NOBODY,
    Backend,
    Entries,
    Files,
    GatewayConfig,
    Kind,
    Traits,
)
from atoll.gateway.door import attempt_frontend, door_section, given_section, grpc_door_section, instead_frontend
from atoll.gateway.frontend import gateway_frontend, mesh_frontend, tcp_frontends
from atoll.gateway.kept import kept_sections
from atoll.gateway.problem import PAGES, error_page, grpc_pages, to_grpc, with_trace_id
from atoll.gateway.quote import entry, line, section
from atoll.gateway.request_log import GRPC_RULES, RequestLog, global_lines, ring_section
from atoll.model.cadence import SPREAD
from atoll.settings import Gateway

HEADER_WAIT = 10
"""Seconds in which a request's header must have arrived."""
TUNNEL_IDLE = 3600
"""Seconds a WebSocket or a tcp connection may be silent."""
WAYS = 4
"""Connections at most, in numbers of clients': those of clients, those of services on the mesh, and for each of them one
of HAProxy to itself (see `door`), which must never wait for the others to end."""
SPARE_DESCRIPTORS = 2000
"""For listeners and checks, beside two for every connection. Where the system allows fewer, HAProxy takes what it gets."""
PEERS = "atoll"
LOCAL_PEER = "self"


class Rendered(msgspec.Struct, frozen=True):
    """What is to be written: the configuration, the content of each map by the map's name, and the other files."""

    config: str
    maps: dict[str, str]
    scripts: dict[str, str]
    """By file name, beside the configuration."""


@dataclass
class RenderMemo:
    """What an earlier call wrote, used again for what is the same. One owner; holds one config's text."""

    sections: dict[str, tuple[Backend, str]] = field(default_factory=dict)
    slots: dict[tuple[Kind, str], str] = field(default_factory=dict)
    maps: dict[str, tuple[Entries, str]] = field(default_factory=dict)


def render(
    config: GatewayConfig,
    settings: Gateway,
    files: Files,
    memo: RenderMemo | None = None,
    log: RequestLog | None = None,
) -> Rendered:
    """The files for `config`; with a `log`, requests have traces and a line in it.

    Raises:
        InvalidValue: a word that cannot be written (control characters); the config was not made by `intent`.
    """
    memo = memo or RenderMemo()
    logged = log is not None
    parts = [
        f"# Written by atoll, generation {config.generation:d} of revision {config.revision:d}. Changes here are lost.",
        _global(settings, files, log),
        *([ring_section(log)] if log else []),
        _defaults(settings, logged=logged),
        *(_kind_defaults(kind, logged=logged) for kind in Kind),
        *(_led_defaults(kind, logged=logged) for kind in _led(config)),
        _peers(files),
        gateway_frontend(config, settings, logged=logged),
        mesh_frontend(config, settings, logged=logged),
        tcp_frontends(config, logged=logged),
        section("backend", NOBODY, "from", "base") + "\n",
        closed_section(),
        attempt_frontend(files.attempt, copies=config.copies, logged=logged),
        given_section(config.pages),
        instead_frontend(files.instead, copies=config.copies, logged=logged),
        door_section(files.attempt, files.instead, config.pages, fails_over=config.fails_over),
        grpc_door_section(files.attempt, files.instead, fails_over=config.fails_over),
        *([kept_sections()] if config.copies else []),
        budget.budget_section(),
        breaker.breaker_section(PEERS),
        limits.limits_sections(),
        *_sections((*config.backends, *config.idle), memo),
        *_slots(config.slots, memo),
    ]
    maps = {name: _map(name, config.maps.get(name, ()), memo) for name in MAPS}
    text = "\n".join(parts)
    return Rendered(with_trace_id(text) if logged else text, maps, {injection.SCRIPT: injection.SOURCE})


def _sections(backends: Iterable[Backend], memo: RenderMemo) -> list[str]:
    known, memo.sections = memo.sections, {}
    for backend in backends:
        before = known.get(backend.name)
        same = before is not None and before[0] is backend
        memo.sections[backend.name] = before if before and same else (backend, backend_section(backend))
    return [text for _, text in memo.sections.values()]


def _slots(slots: Iterable[tuple[Kind, str]], memo: RenderMemo) -> list[str]:
    known = memo.slots
    memo.slots = {slot: known.get(slot) or slot_section(*slot) for slot in slots}
    return list(memo.slots.values())


def _map(name: str, entries: Entries, memo: RenderMemo) -> str:
    known = memo.maps.get(name)
    if known is None or known[0] != entries:
        known = memo.maps[name] = (entries, map_text(entries))
    return known[1]


def map_text(entries: Entries) -> str:
    """A map file's content."""
    return "".join(f"{entry(key, value)}\n" for key, value in entries)


def _global(settings: Gateway, files: Files, log: RequestLog | None) -> str:
    return _lines(
        section("global"),
        line("default-path", "config"),
        line("stats", "socket", str(files.runtime), "mode", "600", "level", "admin", "expose-fd", "listeners"),
        # a connection that somebody leaves open holds a place; without one for us HAProxy would be taken for hung
        line("stats", "maxconn", "100"),
        line("stats", "timeout", "1m"),
        line("nbthread", str(settings.threads)),
        line("fd-hard-limit", str(2 * WAYS * settings.max_connections + SPARE_DESCRIPTORS)),
        line("hard-stop-after", milliseconds(settings.hard_stop)),
        line("server-state-file", str(files.state)),
        line("localpeer", LOCAL_PEER),
        line("spread-checks", str(SPREAD)),
        line("expose-experimental-directives"),
        line("tune.stick-counters", str(limits.COUNTERS)),
        breaker.GLOBAL_RULES,
        injection.GLOBAL_RULES,
        *(global_lines(log) if log else []),
    )


def _defaults(settings: Gateway, *, logged: bool) -> str:
    log = [line("log", "global")] if logged else []
    return _lines(
        section("defaults", "base"),
        line("mode", "http"),
        *_timeouts(settings),
        line("timeout", "client", milliseconds(settings.client_timeout)),
        line("timeout", "server", milliseconds(settings.server_timeout)),
        line("timeout", "http-request", f"{HEADER_WAIT}s"),
        line("timeout", "http-keep-alive", milliseconds(settings.client_timeout)),
        line("retries", str(Traits().retries)),
        line("option", "redispatch", "1"),
        line("retry-on", *Traits().retry_on),
        line("option", "http-no-delay"),  # an event of a stream goes out when it comes (else 100 ms later)
        line("option", "idle-close-on-response"),  # after a reload a request on its way still finds its connection
        line("option", "dontlognull"),
        line("option", "abortonclose"),
        line("http-reuse", "safe"),
        line("load-server-state-from-file", "global"),
        *log,
        *map(error_page, PAGES),
    ) + _lines(
        section("defaults", "bytes"),
        line("mode", "tcp"),
        *_timeouts(settings),
        line("timeout", "client", f"{TUNNEL_IDLE}s"),
        line("timeout", "server", f"{TUNNEL_IDLE}s"),
        line("retries", str(Traits().retries)),
        line("option", "redispatch", "1"),
        line("option", "dontlognull"),
        line("load-server-state-from-file", "global"),
        *log,
    )


def _timeouts(settings: Gateway) -> Iterable[str]:
    yield line("timeout", "connect", milliseconds(settings.connect_timeout))
    yield line("timeout", "queue", milliseconds(Traits().queue_timeout))
    yield line("timeout", "check", milliseconds(Traits().check_timeout))
    yield line("timeout", "tunnel", f"{TUNNEL_IDLE}s")


def _kind_defaults(kind: Kind, *, logged: bool) -> str:
    if kind is Kind.TCP:
        return section("defaults", kind.value, "from", "bytes") + "\n"
    head = f"{section('defaults', kind.value, 'from', 'base')}\n{CHECK_RULES[kind]}"
    if kind not in (Kind.GRPC, Kind.CALLS):
        return f"{head}{request_rules(kind)}{ANSWER_RULES}"
    pages = "".join(f"{page}\n" for page in grpc_pages())
    return f"{head}{pages}{to_grpc(request_rules(kind))}{GRPC_RULES if logged else ''}{ANSWER_RULES}"


def _led(config: GatewayConfig) -> list[Kind]:
    """The kinds of which there are active-passive services."""
    every = {backend.traits for backend in (*config.backends, *config.idle)}
    kinds = {traits.kind for traits in every if leading.speaks(traits)}
    return [kind for kind in Kind if kind in kinds]


def _led_defaults(kind: Kind, *, logged: bool) -> str:
    usual, led = (section("defaults", defaults_of(Traits(kind=kind, led=led)), "from", "base") for led in (False, True))
    # the first rules of all
    checks = CHECK_RULES[kind]
    return _kind_defaults(kind, logged=logged).replace(f"{usual}\n{checks}", f"{led}\n{checks}{leading.RULES}")


def _peers(files: Files) -> str:
    """The hand-over of stick tables from an old worker to the new one."""
    return _lines(section("peers", PEERS), line("bind", f"unix@{files.peer}"), line("server", LOCAL_PEER))


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
