"""The wait for a node that was started in the background, and what is told of it then."""

from __future__ import annotations

import sys
import threading
from typing import Any

from atoll.cli import nodefile
from atoll.cli.api import Api
from atoll.cli.detach import Detached
from atoll.cli.facts import ready
from atoll.cli.invocation import Invocation
from atoll.cli.nodefile import NodeFile
from atoll.cli.place import Place, token_of
from atoll.cli.screen import Screen
from atoll.errors import AtollError, NotReady
from atoll.model.readiness import Readiness
from atoll.settings import Settings

LOOK = 0.05
"""Seconds between two looks at the node file; it is one small read."""
LOOK_SERVICES = 0.3
"""Seconds between two looks at the services: they cost the control plane something."""

PARTS = frozenset({"control plane", "gateway"})
"""What must run before the platform counts as up; the node calls its parts so."""
SECOND_CHANCE = 10.0
"""Seconds a service that failed to start has to come up after all before `--wait` gives up on it."""


class StartFailed(AtollError):
    """The node ended instead of coming up; its own error is in the detail."""

    code, title = "start-failed", "Start failed"


def await_node(
    invocation: Invocation, settings: Settings, child: Detached, *, wait: bool, limit: float
) -> dict[str, Any]:
    """Wait until the platform is up (with `wait`: until every service passes); what `up -d --json` prints.

    Raises:
        StartFailed: the node ended.
        NotReady: time is up, or a service does not come up. The platform goes on running.
    """
    clock = invocation.clock
    began = clock.now()
    screen = Screen(
        sys.stdout,
        sys.stderr,
        live=invocation.live,
        color_err=invocation.use_color(stderr=True),
        quiet=invocation.quiet or invocation.progress == "none",
    )
    try:
        screen.part_begins("platform")
        up = False
        looked = began
        failing: float | None = None
        while True:
            if child.ended():
                raise _ended(child)
            node = nodefile.read(settings)
            if node is not None and node.pid == child.pid:
                up = up or node.parts.keys() >= PARTS
                if up and (not wait or node.ready is not None):
                    if wait:
                        screen.services({name: state[:2] for name, state in _look(settings, invocation).items()})
                    break
                failing = failing or (clock.now() if node.failed else None)
                if wait and failing is not None and clock.now() - failing >= SECOND_CHANCE:
                    raise _failed(node)
            if wait and up and clock.now() - looked >= LOOK_SERVICES:
                looked = clock.now()
                screen.services({name: state[:2] for name, state in _look(settings, invocation).items()})
            if clock.now() - began >= limit:
                raise _late(settings, invocation, limit, up=up)
            threading.Event().wait(LOOK)
    except KeyboardInterrupt:
        child.stop()  # nothing half started stays
        raise
    finally:
        screen.finish()
    return {
        "pid": child.pid,
        "seconds": round(clock.now() - began, 3),
        "ready": node.ready is not None,
        "parts": node.parts,
        "log": str(child.log),
    }


def report_started(invocation: Invocation, settings: Settings, started: dict[str, Any]) -> None:
    """Say where everything is."""
    if invocation.json:
        invocation.show.json(started)
        return
    talk = invocation.talk
    what = "ready" if started["ready"] else "up"
    talk.note(f"{what} in {started['seconds']:.1f}s (pid {started['pid']}, state in {settings.state})")
    for name, where in {**started["parts"], "log": started["log"]}.items():
        talk.note(f"   {name:<14} {where}")
    talk.note("   look: atoll ps, atoll logs -f     stop: atoll down")


def _client(settings: Settings, invocation: Invocation) -> Api:
    place = Place(socket=settings.socket, token=token_of(settings), settings=settings)
    return Api(place, timeout=min(2.0, invocation.answer_seconds), clock=invocation.clock)


def _look(settings: Settings, invocation: Invocation) -> dict[str, Readiness]:
    try:
        return ready(_client(settings, invocation))[0]
    except AtollError:
        return {}


def _ended(child: Detached) -> StartFailed:
    said = child.said(40)
    errors = [line for line in said if line.startswith(("error: ", "  hint: ", "  -->"))]
    reason = next((line.removeprefix("error: ") for line in errors if line.startswith("error: ")), "")
    hint = _hint(said)
    tail = "" if reason else "\n" + "\n".join(f"  | {line}" for line in said[-12:])
    return StartFailed(
        f"the node ended (exit {child.exit_code}): {reason or 'it said'}{tail}",
        hint=hint or f"everything it said is in {child.log}",
    )


def _hint(said: list[str]) -> str:
    """The first hint in what was said, with its further lines: up to the code that `-v` puts behind it."""
    start = next((at for at, line in enumerate(said) if line.startswith("  hint: ")), None)
    if start is None:
        return ""
    end = next((at for at in range(start + 1, len(said)) if said[at].startswith("  code: ")), start + 1)
    return "\n".join([said[start].removeprefix("  hint: "), *said[start + 1 : end]])


def _failed(node: NodeFile) -> NotReady:
    causes = "; ".join(f"{service}: {cause}" for service, cause in node.failed.items())
    return NotReady(
        f"not ready: {causes}",
        hint=f"the platform goes on running; `atoll logs {next(iter(node.failed))}` may say why, `atoll down` stops it",
    )


def _late(settings: Settings, invocation: Invocation, limit: float, *, up: bool) -> NotReady:
    if not up:
        return NotReady(
            f"the platform is not up after {limit:g} s",
            hint=f"look into {settings.logs / 'node.log'}; `atoll down` stops it",
        )
    waiting = {name: state for name, state in _look(settings, invocation).items() if not state.ready}
    causes = "; ".join(f"{name} {state.passing}/{state.wanted} ({state.cause})" for name, state in waiting.items())
    return NotReady(
        f"not ready after {limit:g} s: {causes or 'the node does not say why'}",
        hint="the platform goes on running; `atoll ps` and `atoll logs` show more, `atoll down` stops it",
    )
