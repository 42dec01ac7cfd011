"""A node of its own for tests that kill it: supervises the services given as JSON, prints a report line ten times a second.

Arguments: state folder, services (JSON list), event loop (`asyncio` or `uvloop`). SIGTERM shuts down.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from atoll.kit.clock import SystemClock
from atoll.kit.tasks import owned
from atoll.model.service import Service
from atoll.settings import Settings
from atoll.supervisor.supervisor import Supervisor
from tests.system.supervisor_stage import FakeRegistrar, FakeTraffic


async def node(state: Path, services: list[Service]) -> None:
    story: list[str] = []
    supervisor = Supervisor(
        Settings(state=state),
        clock=SystemClock(),
        registrar=FakeRegistrar(story),
        traffic=FakeTraffic(story),
        environ=os.environ,
    )
    await supervisor.want({service.name: service for service in services})
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with owned("node") as tasks:
        tasks.start("supervisor", supervisor.run())
        tasks.start("report", report(supervisor))
        await stop.wait()
        await supervisor.shutdown()


async def report(supervisor: Supervisor) -> None:
    while True:
        sys.stdout.buffer.write(msgspec.json.encode(supervisor.report()) + b"\n")
        sys.stdout.flush()
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    main = node(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=list[Service]))
    if sys.argv[3] == "uvloop":
        uvloop.run(main)
    else:
        asyncio.run(main)
