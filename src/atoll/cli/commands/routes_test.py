"""`atoll routes test METHOD URL`: which route takes a request, who would get it, and why the other routes do not."""

from __future__ import annotations

import click

from atoll.cli.commands.call import parse_header
from atoll.cli.facts import plain, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.options import command
from atoll.cli.project_file import load_usable
from atoll.cli.show import Cell, state_cell
from atoll.errors import Unreachable
from atoll.gateway.explain import Explanation, explain
from atoll.model.snapshot import Snapshot


@command("test", reads=True)
@click.argument("method")
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="May be repeated.")
def test(invocation: Invocation, method: str, url: str, *, headers: tuple[str, ...]) -> int:
    """Say which route takes a request, who gets it, and why the others do not.

    Nothing is sent. With -f FILE and no platform running, the routes of the file are asked.
    Exits 1 when no route takes it.

    Example: atoll routes test GET http://shop.test/api/orders
    """
    sent = dict(parse_header(text) for text in headers)
    found = explain(_facts(invocation), method, url, sent)
    if invocation.json:
        invocation.show.json(plain(found))
    else:
        _print(invocation, found)
    return 0 if found.route is not None else 1


def _facts(invocation: Invocation) -> Snapshot:
    try:
        return snapshot(invocation.api)
    except Unreachable:
        if invocation.file is None:
            raise
    project = load_usable(invocation, machine=False).project
    facts = Snapshot()
    facts.services = {service.name: service for service in project.services}
    facts.routes = {route.name: route for route in project.routes}
    invocation.talk.note(f"no platform runs: this is what {invocation.file} says")
    return facts


def _print(invocation: Invocation, found: Explanation) -> None:
    show = invocation.show
    if found.route is not None:
        show.fields(
            [
                ("request", f"{found.method} {found.path}" + (f" (host {found.host})" if found.host else "")),
                ("route", Cell(found.route, "green")),
                ("sent as", found.sent_path or ""),
            ]
        )
        show.table(
            ("SHARE", "UPSTREAM", "INSTANCE", "ENDPOINT", "STATE", ""),
            [
                [f"{part.percent}%", part.upstream, *cells]
                for part in found.parts
                for cells in [
                    [one.instance, one.endpoint, state_cell(one.state), "" if one.weight else "takes nothing"]
                    for one in part.candidates
                ]
                or [["none", "", "", ""]]
            ],
        )
    else:
        why = {400: found.refusal, 404: "no route takes it", 405: "no route takes this method"}
        allow = f" (it would take {', '.join(found.allow)})" if found.allow else ""
        show.text(f"{found.method} {found.path}: {found.status}, {why[found.status]}{allow}")
    if found.others:
        show.text()
        show.table(("OTHER ROUTE", "WHY NOT"), [[other.route, "; ".join(other.reasons)] for other in found.others])
