"""`atoll doctor`: what is wrong with this machine or platform, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.cli import check, check_running, check_telemetry
from atoll.cli.api import Api
from atoll.cli.check import Check, Finding, Verdict
from atoll.cli.facts import plain
from atoll.cli.invocation import Invocation
from atoll.cli.options import command
from atoll.cli.show import state_cell
from atoll.errors import AtollError


@command("doctor", reads=True)
def doctor(invocation: Invocation) -> int:
    """Check this machine and platform; say how to fix what is wrong.

    Exits 1 when something is broken.
    """
    found = list(findings(invocation))
    show = invocation.show
    broken = any(finding.verdict is Verdict.BROKEN for finding in found)
    if show.as_json:
        show.json({"healthy": not broken, "findings": plain(found)})
        return int(broken)
    show.table(
        ("CHECK", "VERDICT", "DETAIL"),
        [[finding.check, state_cell(str(finding.verdict)), finding.detail] for finding in found],
    )
    show.flush()
    for finding in found:
        if finding.fix:
            invocation.talk.hint(f"{finding.check}: {finding.fix}")
    return int(broken)


def findings(invocation: Invocation) -> Iterator[Finding]:
    """Every check, one after the other."""
    from atoll.cli.place import STATE_FOLDER, settings_here
    from atoll.settings import load

    settings = settings_here(invocation) or load(invocation.base / STATE_FOLDER, invocation.environ)
    checks: dict[str, Check] = {
        "python": check.check_python,
        "haproxy": lambda: check.check_haproxy(settings.gateway.binary),
        "sqlite": check.check_sqlite,
        "state": lambda: check.check_state(settings),
        "sockets": lambda: check.check_sockets(settings),
        "disk": lambda: check.check_disk(settings.state),
        "clock": lambda: check.check_clock(invocation.clock.wall(), settings.state),
        "ports": lambda: check_running.check_ports(settings),
        "platform": lambda: check_running.check_platform(settings, _api(invocation)),
        "maintenance": lambda: check_running.check_maintenance(_api(invocation), invocation.clock.wall()),
        "telemetry": lambda: check_telemetry.check_telemetry(settings, _api(invocation)),
        "processes": lambda: check_running.check_dangling(settings),
    }
    for name, one in checks.items():
        yield from check.run_check(name, one)


def _api(invocation: Invocation) -> Api | None:
    try:
        return invocation.api
    except AtollError:
        return None
