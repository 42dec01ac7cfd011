"""`atoll breakers`: what the circuit breakers do, and an operator's word on one. Written as a fact; HAProxy obeys it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from atoll.cli.facts import nodes, plain, require_services, revision_of, service_path, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import age, seconds
from atoll.cli.options import EPILOG, AtollGroup, command, complete_services
from atoll.cli.show import Cell, service_cell, state_cell
from atoll.kit.text import scrub
from atoll.model.answers import BreakerRequest, NodeView
from atoll.model.breaker import Breaker, BreakerState
from atoll.model.keys import SERVICES
from atoll.model.names import service_name
from atoll.model.report import BreakerReport
from atoll.model.service import Protocol, Service

COLUMNS = ("SERVICE", "STATE", "SINCE", "UNTIL", "FAILED", "OPENS AT", "OPENED", "REASON")
_SERVICE = click.argument("service", metavar="SERVICE", shell_complete=complete_services)
_REASON = click.option("--reason", required=True, metavar="TEXT", help="Why; shown to whoever looks.")
_FOR = click.option("--for", "duration", default="5m", show_default=True, metavar="TIME", help="How long.")


@click.group("breakers", cls=AtollGroup, invoke_without_command=True, epilog=EPILOG)
@click.pass_context
def breakers(ctx: click.Context) -> None:
    """Show the circuit breakers; force one open or closed, or reset it."""
    if ctx.invoked_subcommand is None:
        _list(ctx.ensure_object(Invocation))


@command("open")
@_SERVICE
@_FOR
@_REASON
def open_(invocation: Invocation, service: str, duration: str, reason: str) -> None:
    """Let nobody through to a service for a while.

    Example: atoll breakers open orders --for 5m --reason "its database moves"
    """
    _say(invocation, service, BreakerRequest(state=BreakerState.OPEN, seconds=_seconds(duration), reason=reason))


@command("close")
@_SERVICE
@_FOR
@_REASON
def close(invocation: Invocation, service: str, duration: str, reason: str) -> None:
    """Let everybody through to a service for a while, whatever fails."""
    _say(invocation, service, BreakerRequest(state=BreakerState.CLOSED, seconds=_seconds(duration), reason=reason))


@command("reset")
@_SERVICE
@_REASON
def reset(invocation: Invocation, service: str, reason: str) -> None:
    """Take a word back and begin anew: closed, nothing counted."""
    _say(invocation, service, BreakerRequest(reason=reason))


breakers.add_command(open_)
breakers.add_command(close)
breakers.add_command(reset)


class Row:
    """A service's breaker as one node's gateway has it."""

    def __init__(self, service: Service, node: str, report: BreakerReport | None, wall: float) -> None:
        self.service = service
        self.node = node
        self.report = report or BreakerReport(service=service.name)
        self.policy = service.policy.circuit_breaker or Breaker()
        self.word = service.breaker_word if service.breaker_word.holds(wall) else None

    @property
    def state(self) -> str:
        """`off`, or what the breaker does now; an operator's word is known before the gateway reports it."""
        if self.word is not None and self.word.state is not None:
            return f"{self.word.state} (forced)"
        return str(self.report.state) if self.policy.enabled else "off"

    def cells(self, wall: float) -> list[str | Cell]:
        """The columns of COLUMNS."""
        said, report, word = self.policy, self.report, self.word
        since = word.since if word else report.since
        until = word.until if word else report.until
        rule = f"{said.errors}% of {said.min_requests} in {said.window:g}s" if said.enabled else ""
        return [
            service_cell(self.service.name),
            state_cell(self.state),
            f"{age(wall - since)} ago" if since else "",
            f"in {age(until - wall)}" if until > wall else "",
            f"{report.failures} of {report.requests}" if report.requests else "",
            rule,
            str(report.opened) if report.opened else "",
            scrub(word.reason, limit=80) if word else "",
        ]

    def json(self) -> dict[str, Any]:
        """The row for scripts: what is shown, and its sources whole. Wall seconds."""
        return {
            "service": self.service.name,
            "node": self.node,
            "state": str(self.word.state if self.word else self.report.state),
            "forced": self.word is not None,
            "policy": plain(self.policy),
            "word": plain(self.service.breaker_word),
            "seen": plain(self.report),
        }


def rows(services: Iterable[Service], seen: Iterable[NodeView], wall: float) -> list[Row]:
    """A row for each service and node; services that speak tcp have none."""
    told: dict[tuple[str, str], BreakerReport] = {
        (each.service, node.report.node): each for node in seen for each in node.report.breakers
    }
    where = sorted({node for _, node in told}) or [""]
    return [
        Row(service, node, told.get((service.name, node)), wall)
        for service in sorted(services, key=lambda each: each.name)
        if service.protocol is not Protocol.TCP
        for node in where
    ]


def _list(invocation: Invocation) -> None:
    show, wall = invocation.show, invocation.clock.wall()
    facts = snapshot(invocation.api, SERVICES)
    found = rows(facts.services.values(), nodes(invocation.api), wall)
    if show.as_json:
        show.json([row.json() for row in found])
        return
    several = len({row.node for row in found}) > 1
    table: list[list[str | Cell]] = [[*row.cells(wall), *([row.node] if several else [])] for row in found]
    show.table((*COLUMNS, "NODE") if several else COLUMNS, table)


def _seconds(text: str) -> float:
    return seconds(text, name="--for")


def _say(invocation: Invocation, service: str, said: BreakerRequest) -> None:
    name = service_name(service)
    require_services(snapshot(invocation.api, SERVICES), (name,))
    answer = invocation.api.post(service_path(name, "breaker"), said)
    invocation.talk.note(f"{name}: {f'{said.state} for {said.seconds:g} s' if said.state else 'reset'}")
    if invocation.json:
        invocation.show.json(revision_of(answer))
