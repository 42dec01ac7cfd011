"""Whether a project can stand: words, references, cycles, ports, routes. Pure; asked by the loader and by the API.

Findings carry the path at which the project file would say the thing at fault; the loader adds the place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from atoll.errors import AtollError
from atoll.kit.text import scrub
from atoll.model import names
from atoll.model.checked import (
    ARGUMENTS_LIMIT,
    CHECK_FLOOR,
    DURATION_CEILING,
    ENVIRONMENT_LIMIT,
    MATCH_LIMIT,
    REPLICAS_CEILING,
    TEXT_LIMIT,
)
from atoll.model.names import ServiceName
from atoll.model.project import Project
from atoll.model.route import Route
from atoll.model.service import BalanceKind, Check, Condition, Mode, Restart, Run, Service
from atoll.project.failover_valid import check_failovers
from atoll.project.fallbacks_valid import check_fallbacks
from atoll.project.finding import Code, Finding, Path, invalid
from atoll.project.node import KEY
from atoll.project.policies_valid import check_policies
from atoll.project.routes_valid import check_matches, check_route, describe, unknown_service

RESERVED = frozenset({"api", "registration"})
"""Origins that are not projects."""
SIGNALS = frozenset(f"SIG{name}" for name in ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL"))
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_GRPC = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,126}")
_HASH_ON = re.compile(r"client_ip|path|header:[a-z0-9][a-z0-9-]{0,62}")


def check_project(project: Project, known: Mapping[ServiceName, Service]) -> None:
    """Refuse a project that cannot stand; `known` are the services that exist beside it.

    Raises:
        ProjectInvalid: with every finding.
    """
    findings = list(problems(project, known))
    if findings:
        raise invalid(findings, what=f"project {project.name}")


def problems(
    project: Project,
    known: Mapping[ServiceName, Service],
    *,
    off: Collection[str] = (),
    also: Collection[str] = (),
    vague: Collection[str] = (),
) -> Iterator[Finding]:
    """Everything wrong with `project`.

    `off`: services whose profiles are not on. `also`: names that are not unknown. `vague`: routes not to be compared.
    """
    yield from _word(names.service_name, project.name, ("name",), "name")
    if project.name in RESERVED:
        yield Finding(code=Code.INVALID_VALUE, message=f"`{project.name}` cannot name a project", path=("name",))
    services = {**known, **{service.name: service for service in project.services}}
    yield from _twice([service.name for service in project.services], ("services",), "service")
    yield from _twice([route.name for route in project.routes], ("gateway", "routes"), "route")
    for service in project.services:
        yield from check_service(service)
        if service.run is not None:
            yield from _references(service, service.run, services, off, also)
    yield from check_failovers(project, services, off, also)
    yield from check_policies(project, services, off, also)
    yield from check_fallbacks(project, services, off, also)
    yield from _cycles(project)
    yield from _ports(project)
    for route in project.routes:
        yield from check_words(route)
        yield from (
            finding
            for finding in check_route(route, services)
            if not (finding.code is Code.UNKNOWN_REFERENCE and _named(finding, route) in also)
        )
    for earlier, later in check_matches(route for route in project.routes if route.name not in vague):
        yield Finding(
            code=Code.SAME_MATCH,
            message=f"routes `{earlier.name}` and `{later.name}` match the same requests: {describe(later.match)}",
            path=("gateway", "routes", later.name, "match"),
            hint="change one match, or make them one route with two backends",
        )


def _named(finding: Finding, route: Route) -> str:
    index = finding.path[4]
    return route.shares[index].service if isinstance(index, int) else ""


def _word(parse: Callable[..., Any], raw: object, path: Path, field: str) -> Iterator[Finding]:
    """The refusal of a name, if its grammar refuses it or would fold it into another."""
    try:
        parsed = parse(raw, field=field)
    except AtollError as refusal:
        yield Finding(code=Code.INVALID_VALUE, message=refusal.detail, path=path, hint=_folded(parse, raw, refusal))
    else:
        if parsed != raw:
            said = f"{field} {scrub(str(raw), limit=80)!r} is not in its plain form"
            yield Finding(code=Code.INVALID_VALUE, message=said, path=path, suggestion=parsed)


def _folded(parse: Callable[..., Any], raw: object, refusal: AtollError) -> str:
    folded = re.sub(r"[^a-z0-9-]+", "-", str(raw).lower()).strip("-")[:63].strip("-")
    try:
        if parse is names.service_name and folded:
            return f"write `{names.service_name(folded)}`"
    except AtollError:
        pass
    return refusal.hint or ""


def _twice(said: list[Any], path: Path, noun: str) -> Iterator[Finding]:
    for name in sorted({name for name in said if said.count(name) > 1}) if len(set(said)) < len(said) else ():
        yield Finding(code=Code.NAME_TWICE, message=f"two {noun}s are called `{scrub(name)}`", path=(*path, name))


def _bad(message: str, path: Path, hint: str = "", code: Code = Code.INVALID_VALUE) -> Finding:
    return Finding(code=code, message=message, path=path, hint=hint)


def check_service(service: Service) -> Iterator[Finding]:
    """What is wrong with one service by itself."""
    here: Path = ("services", service.name)
    yield from _word(names.service_name, service.name, (*here, KEY), "service")
    yield from _check(service.check, (*here, "healthcheck"))
    if service.balance.kind is BalanceKind.HASH and not _HASH_ON.fullmatch(service.balance.hash_on):
        yield _bad("should hash client_ip, path or header:NAME", (*here, "balance"))
    yield from _durations(here, slow_start=service.slow_start)
    if service.mode is Mode.ACTIVE_PASSIVE and service.sticky:
        yield _bad(
            "a leader gets every request: `sticky` and `mode: active-passive` exclude each other", (*here, "sticky")
        )
    if service.scrape is not None:
        yield from (
            finding
            for finding in _word(names.path_text, service.scrape.path, (*here, "scrape", "path"), "path")
            if not finding.suggestion
        )
    if service.run is not None:
        yield from _run(service.run, here)


def _check(check: Check, here: Path) -> Iterator[Finding]:
    yield from (
        finding for finding in _word(names.path_text, check.path, (*here, "http"), "path") if not finding.suggestion
    )
    if check.grpc_service and not _GRPC.fullmatch(check.grpc_service):
        yield _bad(
            f"gRPC service {scrub(check.grpc_service, limit=80)!r} is not a name such as shop.v1.Payments",
            (*here, "grpc"),
        )
    for word, value in (("retries", check.fall), ("rise", check.rise)):
        if not 1 <= value <= 100:
            yield _bad(f"`{word}` should be a whole number from 1 to 100", (*here, word))
    for word, seconds in (("interval", check.interval), ("timeout", check.timeout)):
        if seconds is not None and seconds < CHECK_FLOOR:
            yield _bad(f"`{word}` should be at least {CHECK_FLOOR * 1000:g}ms", (*here, word))
    yield from _durations(here, interval=check.interval, timeout=check.timeout, start_period=check.start_period)


def _durations(here: Path, **values: float | None) -> Iterator[Finding]:
    for word, value in values.items():
        if value is not None and not (math.isfinite(value) and 0 <= value <= DURATION_CEILING):
            yield _bad(f"`{word}` should be between 0s and 24h", (*here, word))


def _run(run: Run, here: Path) -> Iterator[Finding]:
    if not run.command or not run.command[0]:
        yield _bad("`command` should name a program", (*here, "command"))
    if len(run.command) > ARGUMENTS_LIMIT:
        yield _bad(f"`command` has more than {ARGUMENTS_LIMIT} words", (*here, "command"))
    texts = [("command", word) for word in run.command] + [("working_dir", run.working_dir), ("root", run.root)]
    for word in dict.fromkeys(word for word, text in texts if _unfit(text)):
        yield _bad(f"`{word}` holds a NUL, or over {TEXT_LIMIT} characters", (*here, word))
    if len(run.environment) > ENVIRONMENT_LIMIT:
        yield _bad(f"`environment` has more than {ENVIRONMENT_LIMIT} variables", (*here, "environment"))
    if not run.root.startswith("/"):
        yield _bad("`root` should be an absolute folder", here)
    for name, value in run.environment.items():
        if not _VARIABLE.fullmatch(name):
            shown = scrub(name, limit=80)
            yield _bad(
                f"{shown!r} is not the name of a variable",
                (*here, "environment", name, KEY),
                "use letters, digits and '_'",
            )
        if _unfit(value):
            message = f"`{scrub(name, limit=80)}` holds a NUL, or over {TEXT_LIMIT} characters"
            yield _bad(message, (*here, "environment", name))
    if run.port is not None and not 0 <= run.port <= 65535:
        yield _bad("`port` should be from 1 to 65535", (*here, "port"))
    if not 0 <= run.replicas <= REPLICAS_CEILING:
        yield _bad(f"`replicas` should be from 0 to {REPLICAS_CEILING}", (*here, "replicas"))
    elif run.port and run.replicas > 1:
        yield _bad(
            f"{run.replicas} instances of `{here[1]}` cannot share port {run.port}",
            (*here, "port"),
            "use `port: auto` and give $PORT to the command; callers use the gateway or the mesh",
            Code.PORT_SHARED,
        )
    if run.version is not None:
        yield from _word(lambda raw, field: names.token(raw, field=field), run.version, (*here, "version"), "version")
    if run.stop_signal not in SIGNALS:
        yield _bad(f"unknown signal `{scrub(run.stop_signal, limit=40)}`", (*here, "stop_signal"))
    yield from _durations(here, stop_grace_period=run.stop_grace)


def _unfit(text: str) -> bool:
    return "\0" in text or len(text) > TEXT_LIMIT


def _references(
    service: Service,
    run: Run,
    services: Mapping[ServiceName, Service],
    off: Collection[str],
    also: Collection[str],
) -> Iterator[Finding]:
    for name, condition in run.depends_on.items():
        path: Path = ("services", service.name, "depends_on", name, KEY)
        if name in off:
            yield _bad(
                f"`{service.name}` depends on `{name}`, whose profiles are not on",
                path,
                "turn one of its profiles on with --profile",
                Code.UNKNOWN_REFERENCE,
            )
        elif name not in services and name not in also:
            yield unknown_service(name, services, path, "depends_on")
        needed = services.get(name)
        forever = needed is not None and needed.run is not None and needed.run.restart is Restart.ALWAYS
        if condition is Condition.COMPLETED and forever:
            yield _bad(
                f"`{service.name}` waits for `{name}` to complete, but `{name}` always restarts",
                path,
                f"give `{name}` `restart: on-failure` or `restart: no`",
            )


def _cycles(project: Project) -> Iterator[Finding]:
    """Each cycle of depends_on once, named from its first service in file order."""
    edges = {s.name: [d for d in s.run.depends_on] if s.run is not None else [] for s in project.services}  # noqa: C416
    done: set[str] = set()
    for start in edges:
        stack: list[tuple[ServiceName, Iterator[ServiceName]]] = [(start, iter(edges[start]))]
        trail = [start]
        if start in done:
            continue
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                trail.pop()
                done.add(name)
            elif following in trail:
                cycle = [*trail[trail.index(following) :], following]
                yield _bad(
                    f"services wait for each other: {' → '.join(cycle)}",
                    ("services", name, "depends_on", following, KEY),
                    "remove one of these depends_on, or call at request time instead",
                    Code.CYCLE,
                )
            elif following in edges and following not in done:
                stack.append((following, iter(edges[following])))
                trail.append(following)


def _ports(project: Project) -> Iterator[Finding]:
    taken: dict[int, str] = {}
    for service in project.services:
        if service.run is None or not service.run.port:
            continue
        port = service.run.port
        if port in taken:
            yield _bad(
                f"`{taken[port]}` and `{service.name}` are both on port {port}",
                ("services", service.name, "port"),
                "use `port: auto` for one of them",
                Code.PORT_TWICE,
            )
        else:
            taken[port] = service.name


def check_words(route: Route) -> Iterator[Finding]:
    """Whether every word of a route follows its grammar."""
    here: Path = ("gateway", "routes", route.name)
    match: Path = (*here, "match")
    yield from _word(names.route_name, route.name, (*here, "name"), "route")
    exact = "path" if route.match.exact else "path_prefix"
    yield from _word(names.path_text, route.match.path, (*match, exact), exact)
    for word, count in (("hosts", len(route.match.hosts)), ("headers", len(route.match.headers))):
        if count > MATCH_LIMIT:
            yield _bad(f"{count} {word} are more than {MATCH_LIMIT}", (*match, word))
    for host in route.match.hosts:
        yield from _word(names.host_pattern, host, (*match, "hosts", host), "host")
    for name, value in route.match.headers.items():
        yield from _word(names.header_name, name, (*match, "headers", name, KEY), "header")
        yield from _word(names.header_value, value, (*match, "headers", name), "header value")
    if route.rewrite is not None:
        yield from _word(names.path_text, route.rewrite, (*here, "rewrite", "path_prefix"), "path_prefix")
    for index, share in enumerate(route.shares):
        if share.version is not None:
            path: Path = (*here, "backends", index, "version")
            yield from _word(lambda raw, field: names.token(raw, field=field), share.version, path, "version")
