"""`atoll breakers`: what the circuit breakers do, and an operator's word on one. Written as a fact; HAProxy obeys it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import click

from atoll.cli.edges import OTHERS, Row, edges, rows
from atoll.cli.facts import V1, nodes, parse_services, plain, require_services, revision_of, service_path, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import age, clock_time, moment, seconds
from atoll.cli.options import EPILOG, AtollGroup, command, complete_services
from atoll.cli.show import Cell, service_cell, state_cell
from atoll.errors import NotFound
from atoll.kit.text import closest, scrub
from atoll.model.answers import BreakerRequest, History, Record, Verb
from atoll.model.breaker import Breaker, BreakerState
from atoll.model.keys import ROUTES, SERVICES
from atoll.model.names import ServiceName, route_name, service_name
from atoll.model.service import Protocol

COLUMNS = (
    "SERVICE", "CALLER", "STATE", "SINCE", "UNTIL", "FAILED", "SLOW", "OPENS AT", "OPENED", "REJECTED", "REASON",
)  # fmt: skip
SHOWN = 10_000
"""Records of one service's history that are looked through for those of breakers."""
_SERVICE = click.argument("service", metavar="[SERVICE]", required=False, shell_complete=complete_services)
_CALLER = click.option("--caller", metavar="SERVICE", shell_complete=complete_services, help="Only for its calls.")
_ROUTE = click.option("--route", metavar="NAME", help="Only for the requests of this route.")
_REASON = click.option("--reason", required=True, metavar="TEXT", help="Why; shown to whoever looks.")
_FOR = click.option("--for", "duration", default="5m", show_default=True, metavar="TIME", help="How long.")


@click.group("breakers", cls=AtollGroup, invoke_without_command=True, epilog=EPILOG)
@click.option("--matrix", is_flag=True, help="Callers down, callees across.")
@click.option("--history", "past", is_flag=True, help="What the breakers of all services did; the same as `history`.")
@click.pass_context
def breakers(ctx: click.Context, *, matrix: bool, past: bool) -> None:
    """Show the circuit breakers; force one open or closed, or reset it."""
    if ctx.invoked_subcommand is None:
        invocation = ctx.ensure_object(Invocation)
        if past:
            _history(invocation, (), None, 100)
        else:
            _list(invocation, matrix=matrix)


@command("open")
@_SERVICE
@_CALLER
@_ROUTE
@_FOR
@_REASON
def open_(
    invocation: Invocation, service: str | None, *, caller: str | None, route: str | None, duration: str, reason: str
) -> None:
    """Let nobody through to a service for a while, or not this caller, or nobody on this route.

    Example: atoll breakers open orders --caller web --for 5m --reason "it floods it"
    """
    said = BreakerRequest(state=BreakerState.OPEN, seconds=seconds(duration, name="--for"), reason=reason)
    _say(invocation, service, caller, route, said)


@command("close")
@_SERVICE
@_CALLER
@_ROUTE
@_FOR
@_REASON
def close(
    invocation: Invocation, service: str | None, *, caller: str | None, route: str | None, duration: str, reason: str
) -> None:
    """Let everybody through to a service for a while, whatever fails; or this caller, or this route."""
    said = BreakerRequest(state=BreakerState.CLOSED, seconds=seconds(duration, name="--for"), reason=reason)
    _say(invocation, service, caller, route, said)


@command("reset")
@_SERVICE
@_CALLER
@_ROUTE
@_REASON
def reset(invocation: Invocation, service: str | None, *, caller: str | None, route: str | None, reason: str) -> None:
    """Take a word back and begin anew: closed, nothing counted."""
    _say(invocation, service, caller, route, BreakerRequest(reason=reason))


@command("history", reads=True)
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=complete_services)
@click.option("--since", metavar="TIME", help="From then on (10m, or 2026-11-21T14:30).")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Newest N.")
def history(invocation: Invocation, services: tuple[str, ...], *, since: str | None, limit: int) -> None:
    """Show what circuit breakers did, when and why."""
    _history(invocation, parse_services(services), since, limit)


for _command in (open_, close, reset, history):
    breakers.add_command(_command)


def _list(invocation: Invocation, *, matrix: bool) -> None:
    show, wall = invocation.show, invocation.clock.wall()
    facts = snapshot(invocation.api, SERVICES, ROUTES)
    found = rows(edges(facts, wall), nodes(invocation.api))
    if show.as_json:
        show.json([row.json() for row in found])
        return
    if matrix:
        _matrix(invocation, found)
        return
    several = len({row.node for row in found}) > 1
    table: list[list[str | Cell]] = [
        [*_cells(row, wall), *([row.node] if several else [])] for row in found if row.edge.own or row.edge.near
    ]
    show.table((*COLUMNS, "NODE") if several else COLUMNS, table)


def _cells(row: Row, wall: float) -> list[str | Cell]:
    """The columns of COLUMNS."""
    edge, report = row.edge, row.report
    since = edge.word.since if edge.holds else report.since
    until = edge.word.until if edge.holds else report.until
    return [
        service_cell(edge.service),
        edge.caller if edge.caller != OTHERS else "*",
        state_cell(row.state),
        f"{age(wall - since)} ago" if since else "",
        f"in {age(until - wall)}" if until > wall else "",
        f"{report.failures} of {report.requests}" if report.requests else "",
        str(report.slow) if report.slow else "",
        _rule(edge.policy),
        str(report.opened) if report.opened else "",
        str(report.rejected) if report.rejected else "",
        scrub(edge.word.reason, limit=80) if edge.holds else "",
    ]


def _rule(said: Breaker) -> str:
    if not said.enabled:
        return ""
    slow = f" or {said.slow_calls.share}% over {said.slow_calls.longer_than:g}s" if said.slow_calls else ""
    return f"{said.errors}%{slow} of {said.min_requests} in {said.window:g}s"


def _matrix(invocation: Invocation, found: Sequence[Row]) -> None:
    """What each caller meets at each callee; the worst that a node says."""
    order = ("off", "closed", "closed (forced)", "half-open", "open", "open (forced)")
    met: dict[tuple[str, str], str] = {}
    for row in found:
        key = (row.edge.caller, row.edge.service)
        met[key] = max(met.get(key, "off"), row.state, key=order.index)
    callees = sorted({callee for _, callee in met})
    callers = sorted({caller for caller, _ in met}, key=lambda one: (one == OTHERS, not one.startswith("route:"), one))
    table: list[list[str | Cell]] = [
        [caller or "*", *(state_cell(met[caller, callee]) if (caller, callee) in met else "" for callee in callees)]
        for caller in callers
    ]
    invocation.show.table(("CALLER", *callees), table)


def _history(invocation: Invocation, wanted: tuple[ServiceName, ...], since: str | None, limit: int) -> None:
    facts = snapshot(invocation.api, SERVICES)
    require_services(facts, wanted)
    spoken = (name for name, service in facts.services.items() if service.protocol is not Protocol.TCP)
    query: dict[str, object] = {"limit": SHOWN}
    if since is not None:
        query["since"] = moment(since, wall=invocation.clock.wall(), name="--since")
    found: list[Record] = []
    for name in wanted or sorted(spoken):
        records = invocation.api.get_as(service_path(name, "history"), History, query).records
        found += (record for record in records if record.verb is Verb.BREAKER)
    found = sorted(found, key=lambda record: record.at)[-limit:]
    if invocation.json:
        invocation.show.json([plain(record.breaker) for record in found if record.breaker is not None])
        return
    invocation.show.table(
        ("TIME", "SERVICE", "CALLER", "STATE", "REJECTED", "WHY"),
        [
            [
                clock_time(record.at),
                service_cell(record.service),
                told.caller or "*",
                state_cell(f"{told.state}{' (forced)' if told.forced else ''}"),
                str(told.rejected) if told.rejected else "",
                scrub(told.reason, limit=200),
            ]
            for record in found
            if (told := record.breaker) is not None
        ],
    )


def _say(
    invocation: Invocation, service: str | None, caller: str | None, route: str | None, said: BreakerRequest
) -> None:
    if (service is None) == (route is None) or (caller is not None and service is None):
        raise click.UsageError("name a SERVICE (with --caller: only for its calls), or a --route NAME")
    facts = snapshot(invocation.api, SERVICES, ROUTES)
    if route is not None:
        named = route_name(route)
        if named not in facts.routes:
            near = closest(named, facts.routes)
            raise NotFound(
                f"unknown route `{named}`" + (f"; did you mean `{near}`?" if near else ""), hint="see `atoll routes ls`"
            )
        about, path = f"route {named}", f"{V1}/routes/{quote(named, safe='')}/breaker"
    else:
        name = service_name(service or "")
        callers = () if caller is None else (service_name(caller),)
        require_services(facts, (name, *callers))
        about, path = " → ".join((*callers, name)), service_path(name, "breaker")
        said = BreakerRequest(
            state=said.state, seconds=said.seconds, reason=said.reason, caller=next(iter(callers), None)
        )
    answer = invocation.api.post(path, said)
    invocation.talk.note(f"{about}: {f'{said.state} for {said.seconds:g} s' if said.state else 'reset'}")
    if invocation.json:
        invocation.show.json(revision_of(answer))
