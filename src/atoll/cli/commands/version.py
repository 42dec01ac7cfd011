"""`atoll version`: which version of everything this installation would run, and what runs now."""

from __future__ import annotations

import platform
from importlib import metadata

from atoll import __version__
from atoll.cli.facts import V1
from atoll.cli.invocation import Invocation
from atoll.cli.options import command
from atoll.errors import AtollError
from atoll.model.answers import Status


@command("version", reads=True)
def version(invocation: Invocation) -> None:
    """Print the versions of all parts."""
    parts = installed(invocation)
    parts["running"] = _running(invocation)
    show = invocation.show
    if show.as_json:
        show.json(parts)
    else:
        show.fields([(name, text) for name, text in parts.items() if text])


def installed(invocation: Invocation) -> dict[str, str]:
    """Name → version of what is installed here."""
    from atoll.gateway.binary import find_binary

    try:
        haproxy = find_binary(invocation.environ.get("ATOLL_GATEWAY_BINARY", "")).describe().removeprefix("HAProxy ")
    except AtollError as error:
        haproxy = f"none: {error.detail}"
    import apsw

    return {
        "atoll": __version__,
        "python": f"{platform.python_version()} ({platform.system()} {platform.release()})",
        "haproxy": haproxy,
        "sqlite": apsw.sqlite_lib_version(),
        **{name: metadata.version(name) for name in ("uvicorn", "starlette", "uvloop", "click")},
    }


def _running(invocation: Invocation) -> str:
    try:
        status = invocation.api.get_as(f"{V1}/status", Status)
    except AtollError:
        return ""
    return f"{status.version} (pid {status.pid}, revision {status.revision})"
