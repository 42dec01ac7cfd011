"""`atoll why ID`: what became of one request, and the cause, in one sentence and with its evidence."""

from __future__ import annotations

import click

from atoll.cli.invocation import Invocation
from atoll.cli.numbers import to_the_millisecond
from atoll.cli.options import command
from atoll.cli.show import Cell, service_cell
from atoll.cli.why.evidence import Why
from atoll.cli.why.gather import Gathering


@command("why", reads=True)
@click.argument("request", metavar="TRACE|REQUEST_ID")
def why(invocation: Invocation, request: str) -> None:
    """Say why a request failed, or what it waited for.

    Takes what the answer said: `x-trace-id`, `x-request-id`, or `trace_id` of the problem document. First the cause, then
    the evidence in order of time, then what to do.
    """
    found = Gathering(invocation).why(request)
    if invocation.json:
        invocation.show.json(found)
    else:
        _print(invocation, found)


def _print(invocation: Invocation, found: Why) -> None:
    show = invocation.show
    show.text(found.cause)
    show.text()
    about = f"{found.code} (origin: {found.origin})" if found.origin else found.code
    show.fields([("cause", Cell(about, "bold")), ("trace", found.trace)])
    if found.evidence:
        show.text()
        show.table(
            ("TIME", "FROM", "WHO", "WHAT"),
            [
                [
                    to_the_millisecond(one.at),
                    one.kind,
                    service_cell(one.service, one.instance or one.service),
                    one.text,
                ]
                for one in found.evidence
            ],
        )
    if found.others:
        show.text()
        show.text("less likely: " + "; ".join(f"{one.cause} ({one.code})" for one in found.others))
    if found.next:
        show.text()
        show.text("next")
        for one in found.next:
            show.text(f"  {one}")
    for one in found.missing:
        invocation.talk.note(f"not known: {one}")
