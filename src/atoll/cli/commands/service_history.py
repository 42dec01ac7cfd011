"""`atoll service history`: what happened to the instances of a service, and who could receive traffic at a given time."""

from __future__ import annotations

import click

from atoll.cli.facts import parse_services, plain, service_path
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import clock_time, moment
from atoll.cli.options import command, complete_services
from atoll.cli.show import state_cell
from atoll.model.answers import History, Receivers, Record


@command("history", reads=True)
@click.argument("name", metavar="SERVICE", shell_complete=complete_services)
@click.option("--at", metavar="TIME", help="Only who could receive traffic then (10m, or 2026-11-21T14:30).")
@click.option("--since", metavar="TIME", help="From then on.")
@click.option("--until", metavar="TIME", help="Up to then.")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Newest N records.")
def history(
    invocation: Invocation, name: str, *, at: str | None, since: str | None, until: str | None, limit: int
) -> None:
    """Show what happened to a service and its instances."""
    (wanted,) = parse_services((name,))
    wall = invocation.clock.wall()
    path = service_path(wanted, "history")
    out = invocation.show
    if at is not None:
        asked = moment(at, wall=wall, name="--at")
        receivers = invocation.api.get_as(path, Receivers, {"at": asked})
        if out.as_json:
            out.json(plain(receivers))
        else:
            invocation.talk.note(f"could receive traffic at {clock_time(asked)}: {len(receivers.receivers)}")
            _records(invocation, list(receivers.receivers))
        return
    query: dict[str, object] = {"limit": limit}
    for key, text in (("since", since), ("until", until)):
        if text is not None:
            query[key] = moment(text, wall=wall, name=f"--{key}")
    found = invocation.api.get_as(path, History, query)
    if out.as_json:
        out.json(plain(found))
        return
    _records(invocation, list(found.records))
    if found.more:
        invocation.talk.note(
            f"older records are not shown; --until {clock_time(found.records[0].at).replace(' ', 'T')}"
        )


def _records(invocation: Invocation, records: list[Record]) -> None:
    invocation.show.table(
        ("TIME", "INSTANCE", "WHAT", "STATE", "ENDPOINT", "VERSION", "CAUSE"),
        [
            [
                clock_time(record.at),
                record.instance,
                str(record.verb),
                "" if record.gone or not record.instance else state_cell(str(record.state)),
                record.endpoint,
                record.version or "",
                record.cause,
            ]
            for record in records
        ],
    )
