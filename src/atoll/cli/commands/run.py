"""`atoll run NAME -- CMD…`: one command as an instance of a service in the running platform, until it ends or Ctrl-C."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import click

from atoll.cli.facts import snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.options import AtollCommand, command, complete_services
from atoll.cli.screen import Screen
from atoll.cli.stop import run_loop
from atoll.errors import Unreachable
from atoll.model import names
from atoll.model.keys import SERVICES
from atoll.model.service import Check, CheckKind, Otel, Protocol, Restart, Run, Service


class RunCommand(AtollCommand):
    """Options of ours end at `--`, or at NAME where there is no `--`: the rest is the command's own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with the end of our options found first."""
        ctx.allow_interspersed_args = "--" in args
        return super().parse_args(ctx, args)


@command("run", cls=RunCommand)
@click.argument("name", metavar="NAME", shell_complete=complete_services)
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND...", type=click.UNPROCESSED)
@click.option("--id", "instance", metavar="ID", help="Name of the instance [default: NAME-run-…].")
@click.option("--port", type=click.IntRange(1, 65535), help="Where it listens [default: a free port, given as $PORT].")
@click.option("--protocol", type=click.Choice([str(protocol) for protocol in Protocol]), help="What it speaks.")
@click.option("--http", "path", metavar="PATH", help="Ready when this path answers [default: when the port does].")
@click.option("--version", metavar="V", help="Version, for routes that split by it.")
@click.option("--no-otel", is_flag=True, help="Do not instrument it: no OTEL_ variables, nothing beside Python.")
def run(
    invocation: Invocation,
    name: str,
    words: tuple[str, ...],
    *,
    instance: str | None,
    port: int | None,
    protocol: str | None,
    path: str | None,
    version: str | None,
    no_otel: bool,
) -> int:
    """Run one command as an instance of a service.

    It is registered once it answers, gets its share of the traffic, and is drained and deregistered at the end.
    $PORT in an argument is its port; the ways to all other services are in its environment (ORDERS_URL, …).

    Example: atoll run orders -- uvicorn orders:app --port '$PORT'
    """
    from atoll.cli.guest import run_guest
    from atoll.kit.logs import log_to_stderr
    from atoll.wiring.mesh import settled

    wanted = names.service_name(name)
    place = invocation.place
    if place.settings is None or place.socket is None:
        raise Unreachable("`run` needs the platform of this machine", hint="go to its folder, or name it with -f or -C")
    facts = snapshot(invocation.api, SERVICES)
    settings = settled(place.settings, (), invocation.environ)
    known = facts.services.get(wanted)
    service = Service(
        name=wanted,
        protocol=Protocol(protocol) if protocol else known.protocol if known is not None else Protocol.HTTP,
        check=_check(path, known),
        run=Run(
            command=tuple(words),
            root=str(Path.cwd() if invocation.folder is None else invocation.base),
            port=port or 0,
            version=names.token(version, field="version") if version else None,
            restart=Restart.NO,
            otel=Otel(enabled=not no_otel),
        ),
    )
    identity = names.instance_id(instance or f"{wanted}-run-{secrets.token_hex(3)}")
    log_to_stderr("INFO" if invocation.verbose else "CRITICAL")
    screen = Screen(
        sys.stdout,
        sys.stderr,
        color_out=invocation.use_color(),
        color_err=invocation.use_color(stderr=True),
        quiet=invocation.quiet,
    )
    return run_loop(run_guest(service, identity, settings, place.token, facts.services, screen))


def _check(path: str | None, known: Service | None) -> Check:
    if path is not None:
        return Check(kind=CheckKind.HTTP, path=names.path_text(path))
    return known.check if known is not None else Check()
