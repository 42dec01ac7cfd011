"""`atoll health`: one exit code, for HEALTHCHECK lines and scripts."""

from __future__ import annotations

from typing import Any

from atoll.cli.invocation import Invocation
from atoll.cli.options import command
from atoll.errors import AtollError, Unreachable


@command("health", reads=True)
def health(invocation: Invocation) -> int:
    """Exit 0 if the platform is ready, else 1."""
    try:
        answer: Any = invocation.api.get("/readyz")
    except Unreachable:
        raise
    except AtollError as error:
        raise Unready(error.detail, hint=error.hint or "`atoll doctor` shows what is wrong") from None
    if invocation.json:
        invocation.show.json(answer)
    else:
        invocation.talk.note("ready")
    return 0


class Unready(AtollError):
    """The control plane answers, and says that it is not ready."""

    code, status, title = "unready", 503, "Not ready"
