"""`atoll wait SERVICE…`: until they are ready, for scripts and CI."""

from __future__ import annotations

import contextlib
import threading

import click

from atoll.cli.facts import V1, parse_services, ready
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import seconds
from atoll.cli.options import command, complete_services
from atoll.errors import Compacted, NotReady, Resync
from atoll.model.keys import INSTANCES, ROUTES, SERVICES
from atoll.model.readiness import Readiness

SHORTEST, LONGEST = 0.05, 1.0
"""Seconds of one long poll: node reports are no facts, so they are asked for again after it. A wait is late by a third
at most: what takes long is asked for less often."""

PAUSE = 0.02
"""Seconds between two looks at least, however fast the answers come."""


@command("wait", reads=True)
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=complete_services)
@click.option("--timeout", default="60s", show_default=True, metavar="TIME", help="How long to wait.")
def wait(invocation: Invocation, services: tuple[str, ...], *, timeout: str) -> None:
    """Wait until services are ready; exit 3 when time is up.

    Ready: what is wanted passes, and every gateway routes to it.
    Without a service: until all are.
    """
    wanted = parse_services(services)
    limit = seconds(timeout, name="--timeout")
    began = invocation.clock.now()
    while True:
        found, revision = ready(invocation.api, wanted)
        took = invocation.clock.now() - began
        left = limit - took
        waiting = {name: state for name, state in found.items() if not state.ready}
        if found and not waiting:
            break
        if left <= 0:
            if invocation.json:
                invocation.show.json(_json(found))
            raise not_ready(waiting, f"after {limit:g} s")
        _next_change(invocation, revision, min(left, LONGEST, max(SHORTEST, took / 3)))
    if invocation.json:
        invocation.show.json(_json(found))
    invocation.talk.note(f"{', '.join(found)} ready after {took:.1f}s")


def not_ready(waiting: dict[str, Readiness], when: str) -> NotReady:
    """The refusal that names who is not ready and why."""
    causes = "; ".join(f"{name} {state.passing}/{state.wanted} ({state.cause})" for name, state in waiting.items())
    first = next(iter(waiting), "")
    return NotReady(
        f"not ready {when}: {causes or 'there are no services'}",
        hint=f"`atoll logs {first}` may say why" if first else "`atoll apply` brings the services of a project file",
    )


def _next_change(invocation: Invocation, revision: int, patience: float) -> None:
    query: list[tuple[str, object]] = [("prefix", prefix) for prefix in (SERVICES, INSTANCES, ROUTES)]
    query += [("start", revision + 1), ("wait", f"{patience:.3f}")]
    with contextlib.suppress(Compacted, Resync):  # the next look lists anew anyway
        invocation.api.get(f"{V1}/watch", query, timeout=patience + invocation.api.timeout)
    threading.Event().wait(PAUSE)


def _json(found: dict[str, Readiness]) -> dict[str, dict[str, object]]:
    return {name: {**state._asdict(), "ready": state.ready} for name, state in found.items()}
