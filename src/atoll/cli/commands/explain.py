"""`atoll explain`: what counts for a request on a route or for a call between services, who said it, and what would happen now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
import msgspec

from atoll.cli.commands.call import parse_header
from atoll.cli.effect import Standing, Value, crowded, elsewhere, outcome, room, standing, values
from atoll.cli.facts import nodes, plain, require_services, servers, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.options import command, complete_services
from atoll.cli.show import Cell, service_cell, state_cell
from atoll.errors import InvalidValue, Unreachable
from atoll.gateway.config import Traits
from atoll.gateway.explain import Explanation, Part, candidates
from atoll.gateway.explain import explain as decided
from atoll.gateway.upstream import Upstream
from atoll.model import effective
from atoll.model.answers import NodeView
from atoll.model.breaker import BreakerWord
from atoll.model.keys import maintenance_key
from atoll.model.maintenance import Target
from atoll.model.names import service_name
from atoll.model.policy import Effective
from atoll.model.retry import Retry
from atoll.model.route import Route
from atoll.model.service import Service
from atoll.model.snapshot import Snapshot
from atoll.settings import Settings

ARROWS = {"->", "→"}
CALL = 2
"""Words of a call: who, and whom."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What counts for one share of the requests, and what would happen now."""

    title: str
    service: str
    percent: int
    policy: tuple[Value, ...]
    instances: tuple[Standing, ...]
    now: str


@command("explain", reads=True, context_settings={"ignore_unknown_options": True})  # for `->`
@click.argument(
    "words", nargs=-1, required=True, metavar="METHOD URL | CALLER CALLEE | SERVICE", shell_complete=complete_services
)
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Of the request; may be repeated."
)
def explain(invocation: Invocation, words: tuple[str, ...], *, headers: tuple[str, ...]) -> int:
    """Say what counts for a request or a call, who said it, and what would happen now.

    Of a request: the route that takes it, and the policy with the origin of each value. Of two services: what counts when
    the first calls the second. Of one: what it says for all who call it. Nothing is sent. Exits 1 when no route takes it.

    Example: atoll explain GET /api/orders/7
    Example: atoll explain orders payments
    """
    said = [word for word in words if word not in ARROWS]
    for word in said:
        if word.partition("=")[0] == "--as":
            raise InvalidValue(
                "--as: there are no consumers; what counts at the gateway is the same for whoever calls",
                hint="leave --as out; of a call of one service to another: `atoll explain CALLER CALLEE`",
                field="as",
            )
        if word.startswith("-"):
            raise click.NoSuchOption(word)
    facts = snapshot(invocation.api)
    seen = _seen(invocation)
    if len(said) == CALL and "/" in said[1]:
        return _request(
            invocation, facts, seen, decided(facts, said[0], said[1], dict(parse_header(text) for text in headers))
        )
    if len(said) > CALL or headers:
        raise click.UsageError("give METHOD and URL, two services, or one")
    names = tuple(service_name(word) for word in said)
    require_services(facts, names)
    callee = facts.services[names[-1]]
    caller = facts.services[names[0]] if len(names) == CALL else None
    told = _call(invocation, facts, seen, caller, callee)
    if invocation.json:
        invocation.show.json({"caller": caller and caller.name, "parts": plain([told])})
    else:
        _print(invocation, [told])
    return 0


def _seen(invocation: Invocation) -> tuple[NodeView, ...]:
    try:
        return nodes(invocation.api)
    except Unreachable:
        return ()


def _request(invocation: Invocation, facts: Snapshot, seen: Sequence[NodeView], found: Explanation) -> int:
    route = facts.routes.get(found.route) if found.route else None
    told = list(_shares(invocation, facts, seen, route, found.parts)) if route else []
    if invocation.json:
        invocation.show.json({**plain(found), "parts": plain(told)})
    elif route is None:
        why = {400: found.refusal, 404: "no route takes it", 405: "no route takes this method"}[found.status]
        invocation.show.text(f"{found.method} {found.path}: {found.status}, {why}")
        invocation.talk.note("`atoll routes test` says why each route does not take it")
    else:
        invocation.show.fields([("route", Cell(route.name, "green")), ("sent as", found.sent_path or "")])
        _print(invocation, told)
    return 0 if route is not None else 1


def _shares(
    invocation: Invocation, facts: Snapshot, seen: Sequence[NodeView], route: Route, parts: Sequence[Part]
) -> Iterator[Told]:
    for part in parts:
        service = facts.services.get(part.service)
        if service is None:
            continue
        found = effective.of_route(route, service)
        instances = standing(part.service, part.candidates, servers(seen))
        yield _told(invocation, facts, seen, service, found, instances, part.upstream, part.percent, route.breaker_word)


def _call(
    invocation: Invocation, facts: Snapshot, seen: Sequence[NodeView], caller: Service | None, callee: Service
) -> Told:
    said = caller is not None and callee.name in caller.calls
    found = effective.of_call(caller, callee) if caller is not None and said else effective.of_service(callee)
    title = callee.name if caller is None else f"{caller.name} → {callee.name}"
    instances = standing(callee.name, candidates(facts, Upstream(callee.name)), servers(seen))
    own = caller.calls[callee.name].breaker_word if caller is not None and said else BreakerWord()
    return _told(invocation, facts, seen, callee, found, instances, title, 100, own)


def _told(
    invocation: Invocation,
    facts: Snapshot,
    seen: Sequence[NodeView],
    service: Service,
    found: Effective,
    instances: tuple[Standing, ...],
    title: str,
    percent: int,
    own: BreakerWord,
) -> Told:
    wall, knobs = invocation.clock.wall(), (invocation.place.settings or Settings(state=invocation.base)).gateway
    closed = facts.maintenance.get(maintenance_key(Target(service=service.name)))
    caller = effective.caller_of(found.scope("circuit_breaker"))
    told = (each for node in seen for each in node.report.breakers if each.service == service.name)
    breaker = next((each for each in told if each.caller == caller), None)
    return Told(
        title=title,
        service=service.name,
        percent=percent,
        policy=(
            *values(found, {"timeout": knobs.server_timeout, "retry": Retry(attempts=Traits().retries)}),
            *room(service),
        ),
        instances=instances,
        now=elsewhere(service, closed, (each for node in seen for each in node.report.failovers))
        or crowded(found, service, (each for node in seen for each in node.report.limits))
        or outcome(instances, breaker, own if own.holds(wall) else service.breaker_word, wall),
    )


def _print(invocation: Invocation, told: Sequence[Told]) -> None:
    show = invocation.show
    for each in told:
        share = f" ({each.percent}%)" if each.percent != 100 else ""
        show.fields([("to", service_cell(each.service, each.title + share)), ("now", each.now)])
        show.text()
        show.table(("POLICY", "VALUE", "SAID BY"), [[value.field, value.text, value.origin] for value in each.policy])
        show.text()
        show.table(
            ("INSTANCE", "ENDPOINT", "STATE", "TAKES", "WHY NOT"),
            [
                [one.instance, one.endpoint, state_cell(one.state), "yes" if one.takes else "no", one.cause]
                for one in each.instances
            ],
        )
