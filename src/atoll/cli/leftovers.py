"""What a node that was killed left running: services, guests of `atoll run`, HAProxy, control plane, telemetry.

All of it is proved to be ours (pid, start time, mark) before it is touched; what cannot be proved is left alone.
"""

from __future__ import annotations

import asyncio
import os

from atoll.gateway.binary import find_binary
from atoll.gateway.config import Files
from atoll.gateway.lastgood import ConfigFolder
from atoll.gateway.master import Master
from atoll.kit.clock import SystemClock
from atoll.kit.logs import Log
from atoll.settings import Settings
from atoll.supervisor import record
from atoll.supervisor.child import end_marked
from atoll.supervisor.record import Places, Record

FOLDERS = ("children", "guests", "platform")
"""Of records under `<run>`, in the order in which what they tell of is ended."""
GRACE = 1.0
"""Seconds that HAProxy's requests have; nobody answers them any more."""


def left_behind(settings: Settings, folders: tuple[str, ...] = FOLDERS) -> list[Record]:
    """The records of everything started here that runs. Reads /proc."""
    places = (Places(settings.run / name, settings.logs) for name in folders)
    return [found for one in places for found in record.read_all(one) if record.proved(found)]


def end_all(settings: Settings) -> int:
    """SIGKILL for every child left behind, then the end of HAProxy; how many things were ended. Blocking."""
    left = left_behind(settings)
    for found in left:
        end_marked(found.note.mark, found.child)
    count = len(left) + asyncio.run(_end_gateway(settings))
    for path in (settings.socket, settings.telemetry_socket, settings.requests_socket, settings.run / "node.json"):
        path.unlink(missing_ok=True)  # they would make others look for what is gone
    return count


async def _end_gateway(settings: Settings) -> int:
    files = Files(settings.run / "haproxy")
    if not files.pid.exists():
        return 0
    binary = find_binary(settings.gateway.binary)
    master = Master(binary, ConfigFolder(settings.state / "gateway"), files, os.environ, SystemClock(), Log("gateway"))
    if await master.adopt():
        await master.stop(GRACE)
    elif master.process is not None:
        await master.kill()
    else:
        return 0
    return 1
