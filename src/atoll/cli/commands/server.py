"""`atoll server`: the control plane alone, in the foreground, for systemd and containers (and for `atoll up` itself)."""

from __future__ import annotations

from atoll.cli.invocation import Invocation
from atoll.cli.options import command
from atoll.settings import Settings


@command("server")
def server(invocation: Invocation) -> int:
    """Run only the control plane, in the foreground.

    Its state is in --state DIR (ATOLL_STATE), else in .atoll beside the project file, else in .atoll here.
    """
    from atoll.cli.place import STATE_FOLDER, settings_here
    from atoll.cli.stop import run_loop
    from atoll.kit.logs import log_to_stderr
    from atoll.settings import load

    settings = settings_here(invocation) or load(invocation.base / STATE_FOLDER, invocation.environ)
    log_to_stderr("DEBUG" if invocation.verbose > 1 else "WARNING" if invocation.quiet else "INFO")
    return run_loop(_serve(settings))


async def _serve(settings: Settings) -> int:
    from atoll.cli.failures import INTERRUPTED
    from atoll.cli.stop import Stop
    from atoll.server.serve import run_server

    stop = Stop()
    with stop.listening():
        await run_server(settings, stop=stop)
    return INTERRUPTED if stop.interrupted else 0
