"""`atoll up`: the node in the foreground, or (`-d`) in a session of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from atoll import __version__
from atoll.cli import early, nodefile
from atoll.cli.console import Console
from atoll.cli.detach import Detached
from atoll.cli.facts import parse_services
from atoll.cli.failures import INTERRUPTED
from atoll.cli.invocation import Invocation
from atoll.cli.node_log import log_to_console
from atoll.cli.nodefile import NodeClaim
from atoll.cli.numbers import seconds
from atoll.cli.options import command
from atoll.cli.place import state_of
from atoll.cli.project_file import Loaded, load_usable
from atoll.cli.screen import Screen
from atoll.cli.starting import await_node, report_started
from atoll.cli.stop import Stop, run_loop
from atoll.errors import AlreadyRunning
from atoll.settings import Settings, load


@command("up")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="Switch a profile on; may be repeated.")
@click.option("-d", "--detach", is_flag=True, help="Run in the background; output goes to .atoll/logs/node.log.")
@click.option("--wait", is_flag=True, help="With -d: return when every service passes; exit 3 if one does not.")
@click.option("--no-telemetry", is_flag=True, help="Without traces, logs and metrics (ATOLL_TELEMETRY_ENABLED=0).")
@click.option("--no-otel", is_flag=True, help="Do not instrument the services (ATOLL_TELEMETRY_INSTRUMENT=0).")
@click.option("--timeout", default="120s", show_default=True, metavar="TIME", help="With -d: how long to wait.")
def up(
    invocation: Invocation,
    services: tuple[str, ...],
    *,
    profiles: tuple[str, ...],
    detach: bool,
    wait: bool,
    no_telemetry: bool,
    no_otel: bool,
    timeout: str,
) -> int:
    """Start the platform and the services of the project file.

    Runs until Ctrl-C, which stops everything gracefully; a second Ctrl-C kills.
    With SERVICEs: only these and what they depend on.
    """
    if wait and not detach:
        raise click.UsageError("--wait goes with -d", click.get_current_context())
    wanted = parse_services(services)
    limit = seconds(timeout, name="--timeout")
    loaded = load_usable(invocation, profiles, wanted)
    if no_telemetry:
        invocation.environ = {**invocation.environ, "ATOLL_TELEMETRY_ENABLED": "0"}
    if no_otel:
        invocation.environ = {**invocation.environ, "ATOLL_TELEMETRY_INSTRUMENT": "0"}
    settings = load(_state(invocation, loaded), invocation.environ)
    if detach:
        return _detached(invocation, loaded, settings, wanted, wait=wait, limit=limit)
    claim = NodeClaim(settings)
    claim.take()
    try:
        return run_loop(_foreground(invocation, loaded, settings, wanted, claim))
    finally:
        claim.release()


def _state(invocation: Invocation, loaded: Loaded) -> Path:
    named = invocation.state or invocation.environ.get("ATOLL_STATE")
    return invocation.base / named if named else state_of(Path(loaded.file))


async def _foreground(
    invocation: Invocation, loaded: Loaded, settings: Settings, wanted: tuple[str, ...], claim: NodeClaim
) -> int:
    from atoll.wiring.platform import run_platform

    screen = Screen(
        sys.stdout,
        sys.stderr,
        live=invocation.live,
        color_out=invocation.use_color(),
        color_err=invocation.use_color(stderr=True),
        quiet=invocation.quiet or invocation.progress == "none",
    )
    screen.head(__version__, loaded.project.name, Path(loaded.file).name)
    console = Console(screen, on_part=claim.part, on_ready=claim.ready, on_failed=claim.failed)
    log_to_console(console, invocation.verbose, plain=not invocation.live)
    stop = Stop()
    try:
        with stop.listening():
            await run_platform(loaded, settings, console, services=wanted, stop=stop)
    finally:
        early.ignore()
        console.close()
    invocation.talk.note("stopped")
    return INTERRUPTED if stop.interrupted else 0


def _detached(
    invocation: Invocation, loaded: Loaded, settings: Settings, wanted: tuple[str, ...], *, wait: bool, limit: float
) -> int:
    running = nodefile.read(settings)
    if running is not None:
        raise AlreadyRunning(
            f"a platform runs already in {settings.state.parent} (pid {running.pid})",
            hint="`atoll ps` shows it, `atoll apply` brings it up to date, `atoll down` stops it",
            pid=running.pid,
        )
    arguments = ["--color", "never", "--progress", "plain", "--no-input", *["-v"] * max(1, invocation.verbose)]
    arguments += ["--file", str(loaded.file), "--state", str(settings.state), "up"]
    arguments += [f"--profile={profile}" for profile in loaded.profiles]
    arguments += wanted
    child = Detached(arguments, settings.logs / "node.log", invocation.environ)
    started: dict[str, Any] = await_node(invocation, settings, child, wait=wait, limit=limit)
    report_started(invocation, settings, started)
    return 0
