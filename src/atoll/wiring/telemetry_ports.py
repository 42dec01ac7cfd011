"""Which ports OTLP is taken on: the usual ones, or free ones when somebody else has those; the same ever after.

Services are told them in their environment, so they should not move: once chosen, they are written to
`<state>/telemetry.json`. Ports that somebody asked for by name are never changed: those that are taken are refused
(`ports.refuse_taken`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

import msgspec

from atoll.kit.files import private_folder, replace_file
from atoll.kit.listeners import Listener
from atoll.settings import Settings, Telemetry
from atoll.wiring.kept import running

NAME = "telemetry"
VARIABLES = {"http_port": "ATOLL_TELEMETRY_HTTP_PORT", "grpc_port": "ATOLL_TELEMETRY_GRPC_PORT"}


class Ports(msgspec.Struct, frozen=True):
    """What is kept in the file."""

    http_port: int
    grpc_port: int


def choose(
    knobs: Telemetry, kept: Ports | None, taken: Collection[int], free: Callable[[], int], *, asked: Collection[str]
) -> Ports:
    """The ports to use. `taken`: ports that somebody else listens on; `asked`: settings that somebody set. Pure."""
    found: dict[str, int] = {}
    for name in VARIABLES:
        usual = int(getattr(knobs, name))
        before = getattr(kept, name) if kept is not None else 0
        used = {*taken, *found.values()}
        if name in asked and usual:
            found[name] = usual
        elif before and before not in used and (usual == 0 or name not in asked):
            found[name] = before
        elif usual and usual not in used:
            found[name] = usual
        else:
            found[name] = next(port for port in iter(free, None) if port not in used)
    return Ports(**found)


def settled(settings: Settings, present: Iterable[Listener], environ: Mapping[str, str]) -> Settings:
    """Settings with the ports that telemetry will have; the choice is written down. Blocking.

    `present`: who listens on this machine. A telemetry process that an earlier node left running keeps its ports.
    """
    if not settings.telemetry.enabled:
        return settings
    file = settings.state / "telemetry.json"
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=Ports)
    except (OSError, msgspec.DecodeError):
        kept = None
    ours = running(settings, NAME)
    mine = {ours.child[0]} if ours is not None and ours.child is not None else set()
    taken = {one.port for one in present if one.pid not in mine}
    asked = {name for name, variable in VARIABLES.items() if variable in environ}
    ports = choose(settings.telemetry, kept, taken, free_port, asked=asked)
    if ports != kept:
        private_folder(settings.state)
        replace_file(file, msgspec.json.encode(ports))
    return replace(settings, telemetry=replace(settings.telemetry, **msgspec.structs.asdict(ports)))


def free_port() -> int:
    """A port that nobody listens on now, from the kernel's ephemeral range."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
