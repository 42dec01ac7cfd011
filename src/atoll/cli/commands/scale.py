"""`atoll scale SERVICE=N`: how many instances shall run. Written as a fact; the node makes it so."""

from __future__ import annotations

import click

from atoll.cli.facts import require_services, revision_of, service_path, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.options import command, complete_services
from atoll.errors import InvalidValue
from atoll.kit.text import scrub
from atoll.model.answers import Scale
from atoll.model.keys import SERVICES
from atoll.model.names import ServiceName, service_name


@command("scale")
@click.argument("targets", nargs=-1, required=True, metavar="SERVICE=N...", shell_complete=complete_services)
def scale(invocation: Invocation, targets: tuple[str, ...]) -> None:
    """Set the number of instances of services.

    Example: atoll scale orders=4 catalog=2
    """
    wanted = dict(parse_target(target) for target in targets)
    facts = snapshot(invocation.api, SERVICES)
    require_services(facts, tuple(wanted))
    answers = {}
    for name, replicas in wanted.items():
        run = facts.services[name].run
        before = run.replicas if run is not None else 0
        answers[name] = revision_of(invocation.api.post(service_path(name, "scale"), Scale(replicas=replicas)))
        invocation.talk.note(f"{name}: {before} → {replicas}")
    if invocation.json:
        invocation.show.json(answers)


def parse_target(text: str) -> tuple[ServiceName, int]:
    """`orders=4` as a name and a number.

    Raises:
        InvalidName: the name does not follow the grammar.
        InvalidValue: there is no whole number of 0 or more behind the `=`.
    """
    name, equals, number = text.partition("=")
    service = service_name(name)
    if not equals or not (number.isascii() and number.isdigit()) or len(number) > 6:
        raise InvalidValue(f"{scrub(text, limit=80)!r} is not SERVICE=N", hint=f"write it as {service}=3")
    return service, int(number)
