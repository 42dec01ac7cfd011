"""`atoll map`: who calls whom, out of the request log and the spans."""

from __future__ import annotations

import click

from atoll.cli.commands.red import figure_cells, question_time
from atoll.cli.facts import V1
from atoll.cli.invocation import Invocation
from atoll.cli.options import command
from atoll.cli.show import Cell, service_cell
from atoll.model.traffic import ServiceMap

COLUMNS = ("CALLER", "CALLEE", "RPS", "ERRORS", "P50", "P95", "P99", "REQUESTS", "COUNTED BY")


@command("map", reads=True)
@click.option("--since", metavar="TIME", default="1h", show_default=True, help="From then on (10m, 2026-11-21T14:30).")
@click.option("--until", metavar="TIME", help="Up to then.")
def map(invocation: Invocation, *, since: str, until: str | None) -> None:  # noqa: A001  # the command's name
    """Show who calls whom, with rate, errors and durations of each edge."""
    api = invocation.api
    query, timeout = question_time(invocation, since, until)
    found = api.get_as(f"{V1}/map", ServiceMap, query, timeout=timeout)
    show = invocation.show
    if show.as_json:
        show.json(found)
        return
    if not found.edges:
        invocation.talk.note("nobody called anybody in this time; --since 1d looks further back")
        return
    kinds = {node.name: node.kind for node in found.nodes}
    rows: list[list[str | Cell]] = []
    for edge in sorted(found.edges, key=lambda one: (one.caller != "gateway", one.caller, -one.figures.requests)):
        kind = kinds.get(edge.callee, "service")
        callee = edge.callee if kind == "service" else f"{edge.callee} ({kind})"
        rows.append(
            [
                service_cell(edge.caller),
                service_cell(edge.callee, callee),
                *figure_cells(edge.figures),
                "request log" if edge.source == "requests" else "spans",
            ]
        )
    show.table(COLUMNS, rows)
