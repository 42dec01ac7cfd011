"""`atoll fault`: let something go wrong on purpose, for a while. Written as a fact; HAProxy does it and ends it."""

from __future__ import annotations

import click

from atoll.cli.facts import V1, plain, revision_of
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import age, seconds
from atoll.cli.options import AtollGroup, command, complete_services
from atoll.cli.show import Cell
from atoll.errors import InvalidValue
from atoll.kit.text import scrub
from atoll.model.answers import FaultFact, FaultRequest, Faults
from atoll.model.fault import fault_name

PATH = f"{V1}/faults"
COLUMNS = ("FAULT", "WHERE", "DOES", "PERCENT", "ONLY WITH", "ENDS", "REASON")


@click.group("fault", cls=AtollGroup)
def fault() -> None:
    """Inject faults to see what they do: delays, errors, dropped connections."""


@command("add")
@click.argument("service", metavar="[SERVICE]", required=False, shell_complete=complete_services)
@click.option("--route", metavar="ROUTE", help="Requests that this route of the gateway takes, not a service's.")
@click.option("--caller", metavar="SERVICE", help="Only calls of this service.", shell_complete=complete_services)
@click.option("--delay", metavar="TIME", help="Hold a request up for so long (200ms).")
@click.option("--jitter", metavar="TIME", help="The delay is up to so much longer or shorter.")
@click.option("--abort", type=int, metavar="STATUS", help="Answer with this status; the service never hears of it.")
@click.option("--drop", is_flag=True, help="Close the connection without an answer.")
@click.option("--percent", type=float, default=100.0, show_default=True, help="Of the requests.")
@click.option("--header", metavar="NAME=VALUE", help="Only requests with this header.")
@click.option("--for", "duration", default="5m", show_default=True, metavar="TIME", help="How long; then it is over.")
@click.option("--name", default="", metavar="NAME", help="To clear it by; default: its place and effect.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; shown to whoever looks.")
def add(
    invocation: Invocation,
    *,
    service: str | None,
    route: str | None,
    caller: str | None,
    delay: str | None,
    jitter: str | None,
    abort: int | None,
    drop: bool,
    percent: float,
    header: str | None,
    duration: str,
    name: str,
    reason: str,
) -> None:
    """Let something go wrong on purpose, for a while.

    Example: atoll fault add orders --delay 200ms --percent 10 --for 5m --reason "what do clients see?"
    """
    key, value = _header(header)
    said = FaultRequest(
        reason=reason,
        seconds=seconds(duration, name="--for"),
        name=name,
        route=route,
        service=service,
        caller=caller,
        percent=percent,
        header=key,
        value=value,
        delay=seconds(delay, name="--delay") if delay else 0.0,
        jitter=seconds(jitter, name="--jitter") if jitter else 0.0,
        abort=abort,
        drop=drop,
    )
    answer = invocation.api.post_as(PATH, said, FaultFact)
    made = answer.fault
    invocation.talk.note(f"{made.name}: {made.percent:g}% of {made.target}: {made.effect}, for {said.seconds:g} s")
    if invocation.json:
        invocation.show.json({"fault": plain(made), "revision": answer.revision})


@command("list", reads=True)
def list_(invocation: Invocation) -> None:
    """List the faults that strike now."""
    found = invocation.api.get_as(PATH, Faults).faults
    if invocation.show.as_json:
        invocation.show.json([plain(each) for each in found])
        return
    wall = invocation.clock.wall()
    rows: list[list[str | Cell]] = [
        [
            Cell(each.name, "bold"),
            each.target,
            Cell(each.effect, "yellow"),
            f"{each.percent:g}",
            f"{each.header}: {each.value}" if each.header else "",
            f"in {age(each.until - wall)}",
            scrub(each.reason, limit=80),
        ]
        for each in found
    ]
    invocation.show.table(COLUMNS, rows)


@command("clear")
@click.argument("names", metavar="[FAULT]...", nargs=-1)
def clear(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Take faults back; without a name, all of them."""
    answer = None
    for each in map(fault_name, names):
        answer = invocation.api.delete(f"{PATH}/{each}")
    if not names:
        answer = invocation.api.delete(PATH)
    invocation.talk.note("cleared")
    if invocation.json:
        invocation.show.json(revision_of(answer))


fault.add_command(add)
fault.add_command(list_)
fault.add_command(clear)


def _header(said: str | None) -> tuple[str | None, str | None]:
    if said is None:
        return None, None
    key, mark, value = said.partition("=")
    if not mark:
        raise InvalidValue(
            f"--header: {scrub(said, limit=40)!r} is not NAME=VALUE", hint="x-user=ana", field="--header"
        )
    return key, value
