"""`atoll failover`: where requests of services with groups go, and an operator's word on one. Written as a fact."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from atoll.cli.facts import nodes, plain, require_services, revision_of, service_path, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import age, seconds
from atoll.cli.options import command, complete_services
from atoll.cli.show import Cell, service_cell, state_cell
from atoll.kit.text import scrub
from atoll.model.answers import FailoverRequest, NodeView
from atoll.model.keys import SERVICES
from atoll.model.names import service_name
from atoll.model.report import FailoverReport
from atoll.model.service import Service

COLUMNS = ("SERVICE", "GROUPS", "NOW", "STATE", "SINCE", "UNTIL", "CAUSE")


@command("failover")
@click.argument("service", required=False, metavar="[SERVICE]", shell_complete=complete_services)
@click.option("--to", "group", metavar="GROUP", help="Send its requests there: one of its groups.")
@click.option("--back", is_flag=True, help="Send them to the first group again, and end an earlier word.")
@click.option("--for", "duration", default="10m", show_default=True, metavar="TIME", help="How long, with --to.")
@click.option("--reason", metavar="TEXT", help="Why; shown to whoever looks.")
def failover(
    invocation: Invocation, service: str | None, *, group: str | None, back: bool, duration: str, reason: str | None
) -> None:
    """Show where requests of services with groups go; send them elsewhere, and back.

    Example: atoll failover orders --to orders-lite --for 10m --reason "its database moves"
    """
    if group is None and not back:
        _list(invocation, service)
        return
    if service is None or reason is None or (group is not None and back):
        raise click.UsageError("say SERVICE, --reason, and either --to GROUP or --back")
    name = service_name(service)
    require_services(snapshot(invocation.api, SERVICES), (name,))
    said = FailoverRequest(to=group, reason=reason, seconds=seconds(duration, name="--for"))
    answer = invocation.api.post(service_path(name, "failover"), said)
    where = f"goes to {group} for {age(said.seconds)}" if group is not None else "goes back to its first group"
    invocation.talk.note(f"{name}: {where}")
    if invocation.json:
        invocation.show.json(revision_of(answer))


class Row:
    """A service with groups as one node's gateway has it."""

    def __init__(self, service: Service, node: str, report: FailoverReport | None, wall: float) -> None:
        self.service = service
        self.node = node
        self.groups = [str(group) for group in service.failover.groups] if service.failover is not None else []
        self.report = report or FailoverReport(service=service.name, group=self.groups[0])
        self.word = service.failover_word if service.failover_word.holds(wall) else None

    @property
    def state(self) -> str:
        """`ok`, `degraded` (another group than the first one serves), or `forced`."""
        return "forced" if self.report.forced else "degraded" if self.report.at else "ok"

    def cells(self, wall: float) -> list[str | Cell]:
        """The columns of COLUMNS."""
        report = self.report
        troubles = dict(zip(self.groups, report.troubles, strict=False))
        groups = ", ".join(f"{group} (ill)" if troubles.get(group) else group for group in self.groups)
        return [
            service_cell(self.service.name),
            groups,
            report.group,
            state_cell(self.state),
            f"{age(wall - report.since)} ago" if report.since else "",
            f"in {age(self.word.until - wall)}" if self.word else "",
            scrub(report.cause, limit=120),
        ]

    def json(self) -> dict[str, Any]:
        """The row for scripts: what is shown, and its sources whole. Wall seconds."""
        return {
            "service": self.service.name,
            "node": self.node,
            "groups": self.groups,
            "group": self.report.group,
            "state": self.state,
            "policy": plain(self.service.failover),
            "word": plain(self.service.failover_word),
            "seen": plain(self.report),
        }


def rows(services: Iterable[Service], seen: Iterable[NodeView], wall: float) -> list[Row]:
    """A row for each service with groups, and each node that tells of it."""
    told: dict[tuple[str, str], FailoverReport] = {
        (each.service, node.report.node): each for node in seen for each in node.report.failovers
    }
    where: list[str] = sorted({node for _, node in told}) or [""]
    return [
        Row(service, node, told.get((service.name, node)), wall)
        for service in sorted(services, key=lambda each: each.name)
        if service.failover is not None
        for node in where
    ]


def _list(invocation: Invocation, only: str | None) -> None:
    show, wall = invocation.show, invocation.clock.wall()
    facts = snapshot(invocation.api, SERVICES)
    if only is not None:
        require_services(facts, (service_name(only),))
    found = [
        row for row in rows(facts.services.values(), nodes(invocation.api), wall) if only in {None, row.service.name}
    ]
    if show.as_json:
        show.json([row.json() for row in found])
        return
    several = len({row.node for row in found}) > 1
    table: list[list[str | Cell]] = [[*row.cells(wall), *([row.node] if several else [])] for row in found]
    show.table((*COLUMNS, "NODE") if several else COLUMNS, table)
