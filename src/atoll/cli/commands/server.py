"""`atoll server`: the control plane alone, in the foreground, for systemd and containers (and for `atoll up` itself)."""

from __future__ import annotations

from atoll.cli.invocation import Invocation
from atoll.cli.options import command


@command("server")
def server(invocation: Invocation) -> None:
    """Run only the control plane, in the foreground.

    Its state is in --state DIR (ATOLL_STATE), else in .atoll beside the project file, else in .atoll here.
    SIGTERM or Ctrl-C ends it.
    """
    from atoll.cli.place import STATE_FOLDER, settings_here
    from atoll.kit.logs import log_to_stderr
    from atoll.server.serve import run
    from atoll.settings import load

    settings = settings_here(invocation) or load(invocation.base / STATE_FOLDER, invocation.environ)
    log_to_stderr("DEBUG" if invocation.verbose > 1 else "WARNING" if invocation.quiet else "INFO")
    run(settings)
