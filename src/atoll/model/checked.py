"""Services and routes whose every name, text and number has passed its grammar or limit.

msgspec checks shapes; this checks what stands in them. The control API passes every service and route through here
before it becomes a fact, so that nothing a user wrote reaches haproxy.cfg, the runtime socket or a child unparsed.
"""

from __future__ import annotations

import math
import re
import signal

import msgspec

from atoll.errors import InvalidValue
from atoll.kit.text import scrub
from atoll.model import names
from atoll.model.breaker import BreakerWord, word_problems
from atoll.model.bulkhead import Queue, room_problems
from atoll.model.failover import Failover, FailoverWord, failover_problems, failover_word_problems, parse_group
from atoll.model.names import HeaderName, ServiceName, Token
from atoll.model.policy import Policy, policy_problems
from atoll.model.route import METHODS, Match, Route, Share
from atoll.model.service import Balance, BalanceKind, Check, Mode, Run, Scrape, Service

DURATION_CEILING = 86_400.0
"""Seconds: a day. Longer checks, graces and timeouts are mistakes."""
CHECK_FLOOR = 0.05
"""Seconds between two checks at least; faster ones would be a load of their own."""
COUNT_CEILING = 100
"""Checks in a row that `fall` and `rise` may ask for."""
REPLICAS_CEILING = 1000
ARGUMENTS_LIMIT = 256
TEXT_LIMIT = 32_768
"""Characters of one argument, path or environment value."""
ENVIRONMENT_LIMIT = 512
SHARES_LIMIT = 32
"""Shares of one route; more would round to nothing."""
SCRAPE_FLOOR = 1.0
"""Seconds between two scrapes of an instance at least."""
SHARE_CEILING = 1_000_000
MATCH_LIMIT = 32
"""Hosts, or headers, of one route."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
DISABLED_LIMIT = 64
"""Instrumentations that a service may switch off."""
_LIBRARY = re.compile(r"[a-z0-9_-]{1,64}")
_GRPC_SERVICE = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_.]{0,126})?")
_HASH_ON = re.compile(r"client_ip|path|header:(?P<header>.+)", re.DOTALL)


def checked_service(said: Service) -> Service:
    """`said`, with everything in it parsed.

    Raises:
        InvalidName: a name that does not follow its grammar.
        InvalidValue: a number or text outside its limits; field `field` names it.
    """
    if said.mode is Mode.ACTIVE_PASSIVE and said.sticky:
        raise _invalid("sticky", "a leader gets every request: no client is kept on another instance")
    return msgspec.structs.replace(
        said,
        name=names.service_name(said.name, field="name"),
        check=_check(said.check),
        balance=_balance(said.balance),
        slow_start=_number(said.slow_start, "slow_start", 0.0, DURATION_CEILING),
        queue=_queue(said),
        policy=_policy(said.policy, "policy"),
        calls={
            names.service_name(name, field="calls"): msgspec.structs.replace(
                call,
                policy=_policy(call.policy, f"calls.{name}.policy"),
                breaker_word=_breaker_word(call.breaker_word),
            )
            for name, call in said.calls.items()
        },
        breaker_word=_breaker_word(said.breaker_word),
        failover=None if said.failover is None else _failover(said.name, said.failover),
        failover_word=_failover_word(said.failover_word),
        scrape=None if said.scrape is None else _scrape(said.scrape),
        origin=str(names.route_name(said.origin, field="origin")),
        run=None if said.run is None else _run(said.run),
    )


def checked_route(said: Route) -> Route:
    """`said`, with everything in it parsed. Whether its services exist is another question (`project.routes_valid`).

    Raises:
        InvalidName: a name that does not follow its grammar.
        InvalidValue: a number or text outside its limits; field `field` names it.
    """
    if not 1 <= len(said.shares) <= SHARES_LIMIT:
        raise _invalid("shares", f"{len(said.shares)} shares are not 1 to {SHARES_LIMIT}")
    return msgspec.structs.replace(
        said,
        name=names.route_name(said.name, field="name"),
        match=_match(said.match),
        shares=tuple(_share(share, f"shares[{index}]") for index, share in enumerate(said.shares)),
        rewrite=None if said.rewrite is None else names.path_text(said.rewrite, field="rewrite"),
        policy=_policy(said.policy, "policy"),
        defaults=_policy(said.defaults, "defaults"),
        breaker_word=_breaker_word(said.breaker_word),
        origin=str(names.route_name(said.origin, field="origin")),
    )


def _check(said: Check) -> Check:
    if not _GRPC_SERVICE.fullmatch(said.grpc_service):
        raise _invalid("check.grpc_service", f"{scrub(said.grpc_service, limit=80)!r} is not a gRPC service name")
    return msgspec.structs.replace(
        said,
        path=_asked(said.path),
        interval=_number(said.interval, "check.interval", CHECK_FLOOR, DURATION_CEILING),
        timeout=None if said.timeout is None else _number(said.timeout, "check.timeout", CHECK_FLOOR, DURATION_CEILING),
        fall=_whole(said.fall, "check.fall", 1, COUNT_CEILING),
        rise=_whole(said.rise, "check.rise", 1, COUNT_CEILING),
        start_period=_number(said.start_period, "check.start_period", 0.0, DURATION_CEILING),
    )


def _scrape(said: Scrape) -> Scrape:
    return msgspec.structs.replace(
        said,
        path=_asked(said.path, "scrape.path"),
        port=None if said.port is None else _whole(said.port, "scrape.port", 1, 65535),
        interval=_number(said.interval, "scrape.interval", SCRAPE_FLOOR, DURATION_CEILING),
        timeout=_number(said.timeout, "scrape.timeout", CHECK_FLOOR, DURATION_CEILING),
    )


def _queue(said: Service) -> Queue | None:
    for path, wrong in room_problems(said.instance_concurrency, said.queue):
        raise _invalid(".".join(path), wrong)
    return said.queue


def _policy(said: Policy, field: str) -> Policy:
    for path, wrong in policy_problems(said):
        raise _invalid(".".join((field, *path)), wrong)
    return said


def _failover(name: ServiceName, said: Failover) -> Failover:
    groups = tuple(parse_group(group, field=f"failover.groups[{index}]") for index, group in enumerate(said.groups))
    for path, wrong in failover_problems(name, msgspec.structs.replace(said, groups=groups)):
        raise _invalid(".".join(("failover", *map(str, path))), wrong)
    return msgspec.structs.replace(said, groups=groups)


def _failover_word(said: FailoverWord) -> FailoverWord:
    for field, wrong in failover_word_problems(said):
        raise _invalid(f"failover_word.{field}", wrong)
    to = None if said.to is None else parse_group(said.to, field="failover_word.to")
    return msgspec.structs.replace(said, to=to)


def _breaker_word(said: BreakerWord) -> BreakerWord:
    for field, wrong in word_problems(said):
        raise _invalid(f"breaker_word.{field}", wrong)
    return said


def _asked(path: str, field: str = "check.path") -> str:
    """A path that is asked as it is written: `/health/` is not `/health`, which may answer with a redirect and pass."""
    names.path_text(path, field=field)
    return path


def _balance(said: Balance) -> Balance:
    found = _HASH_ON.fullmatch(said.hash_on)
    if found is None:
        raise _invalid("balance.hash_on", f"{scrub(said.hash_on, limit=80)!r} is not client_ip, path or header:NAME")
    header = found["header"]
    if header is None:
        return said
    if said.kind is not BalanceKind.HASH:
        raise _invalid("balance.hash_on", "a header is hashed only with kind hash")
    return msgspec.structs.replace(said, hash_on=f"header:{names.header_name(header, field='balance.hash_on')}")


def _run(said: Run) -> Run:
    if not 1 <= len(said.command) <= ARGUMENTS_LIMIT or not said.command[0]:
        raise _invalid("run.command", f"a command has 1 to {ARGUMENTS_LIMIT} words, the first one a program")
    if len(said.environment) > ENVIRONMENT_LIMIT:
        raise _invalid("run.environment", f"{len(said.environment)} variables are more than {ENVIRONMENT_LIMIT}")
    for index, word in enumerate(said.command):
        _text(word, f"run.command[{index}]")
    for name, value in said.environment.items():
        if not _VARIABLE.fullmatch(name):
            raise _invalid("run.environment", f"{scrub(name, limit=80)!r} is not the name of a variable")
        _text(value, f"run.environment.{name}")
    if not _text(said.root, "run.root").startswith("/"):
        raise _invalid("run.root", "the root folder is absolute")
    if said.port is not None:
        _whole(said.port, "run.port", 0, 65_535)
    if said.port and said.replicas > 1:
        raise _invalid("run.replicas", f"{said.replicas} instances cannot share the fixed port {said.port}")
    if said.stop_signal not in signal.Signals.__members__:
        raise _invalid("run.stop_signal", f"{scrub(said.stop_signal, limit=40)!r} is not a signal such as SIGTERM")
    _text(said.working_dir, "run.working_dir")
    _text(said.otel.java_agent, "run.otel.java_agent")
    if len(said.otel.disabled) > DISABLED_LIMIT or not all(_LIBRARY.fullmatch(word) for word in said.otel.disabled):
        raise _invalid("run.otel.disabled", f"at most {DISABLED_LIMIT} names such as sqlite3 or aiohttp-client")
    return msgspec.structs.replace(
        said,
        replicas=_whole(said.replicas, "run.replicas", 0, REPLICAS_CEILING),
        version=_version(said.version, "run.version"),
        depends_on={names.service_name(name, field="run.depends_on"): how for name, how in said.depends_on.items()},
        stop_grace=_number(said.stop_grace, "run.stop_grace", 0.0, DURATION_CEILING),
        node=None if said.node is None else names.node_name(said.node, field="run.node"),
        restarts=_whole(said.restarts, "run.restarts", 0, 2**53),
    )


def _match(said: Match) -> Match:
    for field, count in (("hosts", len(said.hosts)), ("headers", len(said.headers))):
        if count > MATCH_LIMIT:
            raise _invalid(f"match.{field}", f"{count} {field} are more than {MATCH_LIMIT}")
    for method in said.methods:
        if method not in METHODS:
            raise _invalid("match.methods", f"{scrub(method, limit=40)!r} is none of {', '.join(sorted(METHODS))}")
    headers = {
        names.header_name(name, field="match.headers"): names.header_value(value, field="match.headers")
        for name, value in said.headers.items()
    }
    if len(headers) != len(said.headers):
        raise _invalid("match.headers", "a header is named twice (case does not count)")
    return Match(
        hosts=tuple(dict.fromkeys(names.host_pattern(host, field="match.hosts") for host in said.hosts)),
        path=names.path_text(said.path, field="match.path"),
        exact=said.exact,
        methods=tuple(dict.fromkeys(said.methods)),
        headers={HeaderName(name): headers[name] for name in sorted(headers)},
    )


def _share(said: Share, field: str) -> Share:
    return Share(
        service=names.service_name(said.service, field=f"{field}.service"),
        version=_version(said.version, f"{field}.version"),
        weight=_whole(said.weight, f"{field}.weight", 0, SHARE_CEILING),
    )


def _version(said: str | None, field: str) -> Token | None:
    return None if said is None else names.token(said, field=field)


def _number(value: float, field: str, least: float, most: float) -> float:
    if not math.isfinite(value) or not least <= value <= most:
        raise _invalid(field, f"{value:g} is outside {least:g} to {most:g} seconds")
    return value


def _whole(value: int, field: str, least: int, most: int) -> int:
    if not least <= value <= most:
        raise _invalid(field, f"{value} is outside {least} to {most}")
    return value


def _text(value: str, field: str) -> str:
    if len(value) > TEXT_LIMIT or "\0" in value:
        raise _invalid(field, f"over {TEXT_LIMIT} characters, or with a NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _invalid(field, "not valid Unicode") from None
    return value


def _invalid(field: str, what: str) -> InvalidValue:
    return InvalidValue(f"{field}: {what}", hint="GET /api/v1/openapi.json describes every field", field=field)
