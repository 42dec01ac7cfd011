"""`atoll start`, `stop` and `restart`: an operator's word on services. Written as facts; the node makes it so."""

from __future__ import annotations

import click

from atoll.cli.facts import parse_services, require_services, revision_of, service_path, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.options import command, complete_services
from atoll.model.answers import RestartRequest
from atoll.model.keys import SERVICES

_SERVICES = click.argument("services", nargs=-1, required=True, metavar="SERVICE...", shell_complete=complete_services)


def _say(invocation: Invocation, services: tuple[str, ...], verb: str, body: object, done: str) -> None:
    wanted = parse_services(services)
    require_services(snapshot(invocation.api, SERVICES), wanted)
    answers = {}
    for name in wanted:
        answers[name] = revision_of(invocation.api.post(service_path(name, verb), body))
        invocation.talk.note(f"{name}: {done}")
    if invocation.json:
        invocation.show.json(answers)


@command("start")
@_SERVICES
def start(invocation: Invocation, services: tuple[str, ...]) -> None:
    """Start services that were stopped."""
    _say(invocation, services, "start", None, "starts")


@command("stop")
@_SERVICES
def stop(invocation: Invocation, services: tuple[str, ...]) -> None:
    """Stop services; they stay stopped until `start`.

    They leave the balancer first and finish the requests they have.
    """
    _say(invocation, services, "stop", None, "stops")


@command("restart")
@_SERVICES
@click.option("--rolling", is_flag=True, help="One by one, the new instance before the old.")
def restart(invocation: Invocation, services: tuple[str, ...], *, rolling: bool) -> None:
    """Replace the instances of services."""
    _say(
        invocation,
        services,
        "restart",
        RestartRequest(rolling=rolling),
        "restarts" + (" one by one" if rolling else ""),
    )
