"""`atoll telemetry`: the telemetry process alone, in the foreground, for systemd and containers (and for `atoll up` itself)."""

from __future__ import annotations

from atoll.cli.invocation import Invocation
from atoll.cli.options import command


@command("telemetry")
def telemetry(invocation: Invocation) -> None:
    """Run only the telemetry process, in the foreground.

    Its state is in --state DIR (ATOLL_STATE), else in .atoll beside the project file, else in .atoll here.
    SIGTERM or Ctrl-C ends it; what it took is committed before.
    """
    from atoll.cli.place import STATE_FOLDER, settings_here
    from atoll.errors import ProgramMissing
    from atoll.kit.logs import log_to_stderr
    from atoll.settings import load
    from atoll.wiring.telemetry_part import HINT, missing_packages

    settings = settings_here(invocation) or load(invocation.base / STATE_FOLDER, invocation.environ)
    lack = missing_packages(settings.telemetry)
    if lack:
        raise ProgramMissing(f"telemetry needs packages that are not installed: {', '.join(lack)}", hint=HINT)
    from atoll.wiring.telemetry import run

    log_to_stderr("DEBUG" if invocation.verbose > 1 else "WARNING" if invocation.quiet else "INFO")
    run(settings)
