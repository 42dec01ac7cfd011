"""`atoll drill`: breaks an instance on purpose under a load of its own, and proves how well callers were kept from noticing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from atoll.cli.facts import plain
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import clock_time, seconds
from atoll.cli.options import AtollGroup, command

COLUMNS = ("TIME", "ID", "FAULT", "TARGET", "LOST", "RECOVERED", "PROMISES", "RESULT")


@click.group("drill", cls=AtollGroup)
def drill() -> None:
    """Break an instance on purpose under load; prove the recovery and count what was lost."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every fault takes."""
    made = [
        click.argument("target", metavar="SERVICE|INSTANCE", shell_complete=_complete),
        click.option("--rate", type=float, default=50.0, show_default=True, help="Requests a second, at most 500."),
        click.option("--for", "duration", default="10s", show_default=True, metavar="TIME", help="2s to 60s of load."),
        click.option("--path", metavar="PATH", help="What is asked through the gateway [default: a route's own]."),
        click.option("--mesh", is_flag=True, help="Ask through the mesh, as another service would."),
        click.option("--expect-lost", type=click.IntRange(min=0), metavar="N", help="Exit 1 when more are lost."),
        click.option("--expect-recovery", metavar="TIME", help="Exit 1 when callers are disturbed for longer."),
        click.option("--expect-full", metavar="TIME", help="Exit 1 when an instance is missing for longer."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--yes-i-really-mean-it", "mean_it", is_flag=True, help="Also when others can reach the gateway."),
    ]
    for one in reversed(made):
        function = one(function)
    return function


def _complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Services and instances for the shell's TAB; silent when no platform answers."""
    from atoll.cli.facts import snapshot
    from atoll.errors import AtollError

    invocation = ctx.find_object(Invocation) or Invocation()
    try:
        facts = snapshot(invocation.quick_api)
    except (AtollError, OSError):
        return []
    names = sorted({*facts.services, *(key[1] for key in facts.instances)})
    return [name for name in names if name.startswith(incomplete)]


_PERCENT = click.option(
    "--percent", type=click.FloatRange(0.01, 100), default=100.0, show_default=True, help="Of the requests."
)
_HOLD = click.option("--hold", metavar="TIME", help="How long it lasts [default: 40% of --for].")


@command("kill")
@_options
def kill(invocation: Invocation, **said: Any) -> int:
    """Kill the process of an instance, or of all instances of a service (kill -9).

    Example: atoll drill kill orders-2 --expect-lost 0 --expect-recovery 2s
    """
    return _drill(invocation, "kill", said)


@command("pause")
@_options
@_HOLD
def pause(invocation: Invocation, **said: Any) -> int:
    """Let it stand still for a while, as a process does that swaps or is suspended (SIGSTOP, then SIGCONT)."""
    return _drill(invocation, "pause", said)


@command("slow")
@_options
@_HOLD
@click.option("--delay", metavar="TIME", help="Of a service: hold each request up for so long, in the gateway.")
@_PERCENT
def slow(invocation: Invocation, **said: Any) -> int:
    """Let an instance stutter (it stands still nine tenths of the time), or delay all requests to a service."""
    return _drill(invocation, "slow", said)


@command("errors")
@_options
@_HOLD
@_PERCENT
def errors(invocation: Invocation, **said: Any) -> int:
    """Let the gateway answer requests to a service with errors in its place (503)."""
    return _drill(invocation, "errors", said)


@command("partition")
@_options
@_HOLD
@_PERCENT
def partition(invocation: Invocation, **said: Any) -> int:
    """Cut a service off from its callers: the gateway drops their connections without an answer."""
    return _drill(invocation, "partition", said)


@command("list", reads=True)
def list_(invocation: Invocation) -> None:
    """List the drills of this platform, the oldest first."""
    from atoll.cli.drilling import reports_of
    from atoll.drill.words import span

    found = reports_of(invocation).all()
    if invocation.json:
        invocation.show.json([plain(one) for one in found])
        return
    invocation.show.table(
        COLUMNS,
        [
            [
                clock_time(one.at),
                one.id,
                one.fault,
                one.target,
                f"{one.verdict.lost} of {one.verdict.requests}",
                span(one.verdict.recovered),
                ("kept" if one.verdict.kept else "broken") if one.verdict.promises else "",
                one.summary,
            ]
            for one in found
        ],
    )


@command("show", reads=True)
@click.argument("identity", metavar="[ID]", default="latest")
def show(invocation: Invocation, identity: str) -> None:
    """Show one drill; the latest, when none is named."""
    from atoll.cli.drilling import reports_of, show_report

    found = reports_of(invocation).one(identity)
    if invocation.json:
        invocation.show.json(plain(found))
    else:
        show_report(invocation, found)


for _one in (kill, pause, slow, errors, partition, list_, show):
    drill.add_command(_one)


def _drill(invocation: Invocation, fault: str, said: dict[str, Any]) -> int:
    from atoll.cli.drilling import Wish, drill
    from atoll.drill.judge import Promises

    def duration(name: str) -> float | None:
        text = said.get(name)
        return None if text is None else seconds(text, name="--" + name.replace("_", "-"))

    promises = Promises(lost=said["expect_lost"], recovery=duration("expect_recovery"), full=duration("expect_full"))
    return drill(
        invocation,
        Wish(
            fault=fault,
            target=said["target"],
            rate=said["rate"],
            duration=seconds(said["duration"], name="--for"),
            hold=duration("hold"),
            delay=duration("delay"),
            percent=said.get("percent", 100.0),
            path=said["path"],
            mesh=said["mesh"],
            promises=promises,
            yes=said["yes"],
            mean_it=said["mean_it"],
        ),
    )
