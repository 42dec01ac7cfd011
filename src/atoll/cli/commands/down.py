"""`atoll down`: stop the node, and with it everything that `up` started."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator

import click

from atoll.cli import nodefile
from atoll.cli.facts import children, nodes
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import seconds
from atoll.cli.options import command
from atoll.cli.screen import Screen
from atoll.errors import AtollError, Forbidden, NotReady
from atoll.model.report import Phase
from atoll.settings import Settings

LOOK = 0.5
"""Seconds between two looks at what still runs."""
SECOND_SIGNAL = 0.3
"""Seconds between the two signals of `--force`: closer ones count as one."""
KILL_AFTER = 10.0
"""Seconds a forced node has before it is killed itself."""


@command("down")
@click.option("--force", is_flag=True, help="Kill everything at once, without draining.")
@click.option("--timeout", default="60s", show_default=True, metavar="TIME", help="How long to wait for the end.")
def down(invocation: Invocation, *, force: bool, timeout: str) -> None:
    """Stop everything that `up` started.

    Services leave the balancer first and finish the requests they have. Nothing running is no error.
    """
    from atoll.cli.leftovers import end_all
    from atoll.cli.place import settings_here

    settings = settings_here(invocation)
    limit = seconds(timeout, name="--timeout")
    node = nodefile.read(settings) if settings is not None else None
    if settings is None or node is None:
        where = settings.state.parent if settings is not None else invocation.base
        ended = end_all(settings) if settings is not None else 0
        _told(invocation, stopped=ended > 0, seconds_taken=0.0, pid=None)
        left = f"; ended {ended} that an earlier one had left running" if ended else ""
        invocation.talk.note(f"no platform runs in {where}{left}")
        return
    began = invocation.clock.now()
    with _handle(settings, node.pid) as pidfd:
        if pidfd is None:
            gone = True
        else:
            _send(pidfd, signal.SIGTERM)
            gone = force and _gone(pidfd, SECOND_SIGNAL)
            if force and not gone:
                _send(pidfd, signal.SIGTERM)
                gone = _gone(pidfd, min(limit, KILL_AFTER))
                if not gone:
                    _send(pidfd, signal.SIGKILL)
                    gone = _gone(pidfd, KILL_AFTER)
            elif not force:
                gone = _watch(invocation, pidfd, limit)
    took = invocation.clock.now() - began
    if not gone:
        raise NotReady(
            f"the node (pid {node.pid}) still runs after {took:.0f} s",
            hint="wait longer with --timeout 5m, or end everything at once with `atoll down --force`",
            pid=node.pid,
        )
    _told(invocation, stopped=True, seconds_taken=took, pid=node.pid)
    invocation.talk.note(f"stopped in {took:.1f}s")


@contextlib.contextmanager
def _handle(settings: Settings, pid: int) -> Iterator[int | None]:
    """A pidfd of the node, got before its start time is proved again: from then on it cannot mean another process."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        still = nodefile.read(settings)
        yield pidfd if still is not None and still.pid == pid else None
    finally:
        os.close(pidfd)


def _send(pidfd: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
    except PermissionError:
        raise Forbidden("the node belongs to another user", hint="run this as the user who started it") from None


def _gone(pidfd: int, patience: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(patience * 1000))


def _watch(invocation: Invocation, pidfd: int, limit: float) -> bool:
    """Wait for the end, showing what still runs; False when time is up."""
    screen = Screen(
        sys.stdout,
        sys.stderr,
        live=invocation.live,
        color_err=invocation.use_color(stderr=True),
        quiet=invocation.quiet or invocation.progress == "none",
        stop_words="stopping",
    )
    deadline = invocation.clock.now() + limit
    gone = False
    while not gone and invocation.clock.now() < deadline:
        screen.stopping(_running(invocation))
        gone = _gone(pidfd, min(LOOK, max(0.0, deadline - invocation.clock.now())))
    screen.finish()
    return gone


def _running(invocation: Invocation) -> dict[str, int]:
    """Children that still run, by service; nothing when the control plane has gone already."""
    left: dict[str, int] = {}
    with contextlib.suppress(AtollError):
        for (service, _), child in children(nodes(invocation.quick_api)).items():
            if child.pid is not None and child.phase is not Phase.EXITED:
                left[service] = left.get(service, 0) + 1
    return left


def _told(invocation: Invocation, *, stopped: bool, seconds_taken: float, pid: int | None) -> None:
    if invocation.json:
        invocation.show.json({"stopped": stopped, "seconds": round(seconds_taken, 3), "pid": pid})
