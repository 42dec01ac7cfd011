"""`atoll maint`: take a service, an instance, a zone or a machine out of the traffic, and back. Written as facts."""

from __future__ import annotations

import click

from atoll.cli.facts import V1, plain, require_services, revision_of, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import age, seconds
from atoll.cli.options import EPILOG, AtollGroup, command, complete_services
from atoll.model.answers import MaintenanceEnd, MaintenanceRequest, Maintenances
from atoll.model.keys import INSTANCES, SERVICES
from atoll.model.maintenance import NODE, parse_target

COLUMNS = ("TARGET", "SINCE", "UNTIL", "INSTANCES OUT", "REASON")
PATH = f"{V1}/maintenance"
_TARGETS = click.argument("targets", nargs=-1, required=True, metavar="TARGET...", shell_complete=complete_services)


@click.group("maint", cls=AtollGroup, invoke_without_command=True, epilog=EPILOG)
@click.pass_context
def maint(ctx: click.Context) -> None:
    """Show what is in maintenance; take services, instances, zones or machines out and back.

    A TARGET is a service (orders), an instance (orders/orders-2), a zone (zone:b) or what the
    node of a machine runs (node:m1).
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.ensure_object(Invocation))


@command("on")
@_TARGETS
@click.option("--reason", required=True, metavar="TEXT", help="Why; shown to whoever looks.")
@click.option("--for", "duration", metavar="TIME", help="How long [default: until `off`].")
def on(invocation: Invocation, targets: tuple[str, ...], *, reason: str, duration: str | None) -> None:
    """Give targets no new requests; those they have are finished.

    Holds over restarts of everything, also for instances that register later.

    Example: atoll maint on zone:b --for 30m --reason "its switch is replaced"
    """
    wanted = [parse_target(target) for target in targets]
    facts = snapshot(invocation.api, SERVICES, INSTANCES)
    require_services(facts, tuple(target.service for target in wanted if target.service is not None))
    lasting = None if duration is None else seconds(duration, name="--for")
    answers = {}
    for target in wanted:
        said = MaintenanceRequest(target=str(target), reason=reason, seconds=lasting)
        answers[str(target)] = revision_of(invocation.api.post(PATH, said))
        invocation.talk.note(f"{target} is in maintenance" + (f" for {age(lasting)}" if lasting else ""))
        if not any(target.covers(instance) for instance in facts.instances.values()):
            there = sorted({f"{NODE}{one.node}" for one in facts.instances.values() if one.node is not None})
            known = f"; instances run on {', '.join(there)}" if target.node is not None and there else ""
            invocation.talk.warning(f"no instance is in {target} now", f"what registers there later is out{known}")
    if invocation.json:
        invocation.show.json(answers)


@command("off")
@_TARGETS
def off(invocation: Invocation, targets: tuple[str, ...]) -> None:
    """Give targets their requests back."""
    answers = {}
    for target in map(parse_target, targets):
        answers[str(target)] = revision_of(invocation.api.post(f"{PATH}/end", MaintenanceEnd(target=str(target))))
        invocation.talk.note(f"{target} takes requests again")
    if invocation.json:
        invocation.show.json(answers)


maint.add_command(on)
maint.add_command(off)


def _list(invocation: Invocation) -> None:
    show, wall = invocation.show, invocation.clock.wall()
    found = invocation.api.get_as(PATH, Maintenances)
    if show.as_json:
        show.json([plain(word) for word in found.words])
        return
    show.table(
        COLUMNS,
        [
            [
                word.target,
                f"{age(wall - word.since)} ago",
                f"in {age(word.until - wall)}" if word.until else "",
                str(len(word.instances)),
                word.reason,
            ]
            for word in found.words
        ],
    )
