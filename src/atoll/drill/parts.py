"""The platform's own processes, to be killed by a chaos run: control plane, HAProxy's worker, telemetry."""

from __future__ import annotations

import asyncio

from atoll.gateway.config import Files
from atoll.gateway.process import Identity, identity
from atoll.gateway.readback import parse_workers
from atoll.gateway.runtime import Unanswered, exchange
from atoll.model.names import InstanceId
from atoll.settings import Settings
from atoll.supervisor import record
from atoll.supervisor.record import Places

CALLED = {"control-plane": "the control plane", "gateway": "HAProxy's worker", "telemetry": "the telemetry process"}
"""In the order in which they are killed."""


async def process_of(part: str, settings: Settings) -> Identity | None:
    """The process of a part, proved by its record or named by HAProxy's master; None: it does not run."""
    if part == "gateway":
        return await _worker(Files(settings.run / "haproxy"))
    return await asyncio.to_thread(_recorded, part, settings)


async def _worker(files: Files) -> Identity | None:
    try:
        current = parse_workers(await exchange(files.master, "show proc;quit\n")).current
    except Unanswered:
        return None
    return None if current is None else identity(current)


def _recorded(part: str, settings: Settings) -> Identity | None:
    found = record.read(Places(settings.run / "platform", settings.logs).record(InstanceId(part)))
    if found is None or found.child is None or not record.proved(found):
        return None
    now = identity(found.child[0])
    return now if now is not None and now.start == found.child[1] else None
