"""Who listens where: finds out before HAProxy starts that a port is taken, and by whom.

HAProxy binds with SO_REUSEPORT, so a second one of the same user would not fail: the kernel would share the clients
between the two. That is why asking first is not only kinder but necessary.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from atoll.errors import PortTaken
from atoll.kit.listeners import Listener
from atoll.kit.text import scrub

_BIND = re.compile(r"^[ \t]*bind[ \t]+(\S+)", re.MULTILINE)
_ADDRESS = re.compile(r"(?:ipv[46]@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9.]*|\*):(?P<first>\d+)(?:-(?P<last>\d+))?")
_ANY = {"", "*", "0.0.0.0", "::"}  # noqa: S104 - compared with, not bound


def bound(text: str) -> list[tuple[str, int]]:
    """Every host and port that the haproxy.cfg `text` binds, ranges spelled out, unix sockets left out."""
    found = []
    for word in _BIND.findall(text):
        for part in word.split(","):
            address = _ADDRESS.fullmatch(part)
            if address:
                first = int(address["first"])
                ports = range(first, int(address["last"] or first) + 1)
                found += [(address["host"].strip("[]"), port) for port in ports]
    return found


def refuse_taken(wanted: Iterable[tuple[str, int]], *, ours: Collection[int], present: Iterable[Listener]) -> None:
    """Make sure that nobody but the processes `ours` listens where we want to.

    Raises:
        PortTaken: somebody does; the error names the first such port, the pid and the program.
    """
    held: dict[int, list[Listener]] = {}
    for listener in present:
        if listener.pid is None or listener.pid not in ours:
            held.setdefault(listener.port, []).append(listener)
    for host, port in wanted:
        for listener in held.get(port, ()):
            if listener.host == host or listener.host in _ANY or host in _ANY:
                raise _taken(host, port, listener)


def platform_of(pid: int) -> str:
    """The project folder of the platform whose HAProxy this is; empty when it is none. Reads /proc."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    folders = [Path(words[at + 1]) for at, word in enumerate(words[:-1]) if word == "-C"]
    return next((scrub(str(one.parents[2])) for one in folders if one.parts[-2:] == ("gateway", "current")), "")


def _taken(host: str, port: int, listener: Listener) -> PortTaken:
    whose = "" if listener.pid is None else platform_of(listener.pid)
    if whose:
        hint = f"end that platform (`atoll down` in {whose})"
    elif listener.pid is None:
        hint = f"find it with `sudo ss -ltnp 'sport = :{port}'`"
    else:
        hint = f"stop it (kill {listener.pid})"
    told = f"{listener}, the gateway of the platform in {whose}" if whose else str(listener)
    return PortTaken(
        f"port {port} on {host or 'every address'} is taken by {told}",
        hint=f"{hint}, or choose another port (ATOLL_GATEWAY_PORT, ATOLL_GATEWAY_MESH_PORT, ATOLL_GATEWAY_MESH_PORTS)",
        port=port,
        pid=listener.pid,
        program=listener.program,
    )
