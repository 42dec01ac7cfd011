"""The life of `atoll run`'s command: a child with keeper, registration and drain like a node's own, run by the CLI.

It is not the node's: its record stands in `<run>/guests`, and it registers under a node name of its own, so that a node
that starts or ends leaves it alone. Its output goes to the platform's log folder, so `atoll logs` has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Mapping
from dataclasses import replace

from atoll.cli.failures import INTERRUPTED
from atoll.cli.screen import Screen
from atoll.cli.stop import Stop
from atoll.errors import AtollError
from atoll.kit.clock import Clock, SystemClock
from atoll.kit.files import private_folder
from atoll.kit.tasks import owned
from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import Phase, ServerReport
from atoll.model.service import Restart, Service
from atoll.sdk.client import Client
from atoll.settings import Settings
from atoll.supervisor.environment import peers
from atoll.supervisor.life import Around, Life
from atoll.supervisor.output import POLL, Follower, Kind
from atoll.supervisor.ports import Ports
from atoll.supervisor.record import Places
from atoll.wiring.instrumentation import Instrumentation, as_running
from atoll.wiring.membership import ApiRegistrar

LOOK = 0.05
"""Seconds between two questions about what the gateway does with the instance."""


class CommandFailed(AtollError):
    """The command ended by itself, and not well."""

    code, title = "command-failed", "Command failed"


class ReportedTraffic:
    """`supervisor.outside.Traffic`, as far as the nodes' reports tell of their gateways."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def routed(self, service: ServiceName, instance: InstanceId, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until a gateway reports that its check passes."""
        return await self._until(service, instance, timeout, idle=False)

    async def idle(self, service: ServiceName, instance: InstanceId, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until no gateway reports a session with it."""
        await self._clock.sleep(2 * LOOK)  # reports of before the drain are still under way
        return await self._until(service, instance, timeout, idle=True)

    async def _until(self, service: ServiceName, instance: InstanceId, limit: float, *, idle: bool) -> bool:
        deadline = self._clock.now() + limit
        while self._clock.now() < deadline:
            with contextlib.suppress(AtollError):
                found = await self._reported(service, instance)
                if all(not server.sessions for server in found) if idle else any(server.up for server in found):
                    return True
            await self._clock.sleep(LOOK)
        return False

    async def _reported(self, service: ServiceName, instance: InstanceId) -> list[ServerReport]:
        return [
            server
            for view in (await self._client.nodes()).nodes
            for server in view.report.servers
            if (server.service, server.instance) == (service, instance)
        ]


async def run_guest(
    service: Service,
    instance: InstanceId,
    settings: Settings,
    token: str,
    services: Mapping[ServiceName, Service],
    screen: Screen,
) -> int:
    """Run the service's command as `instance` until it ends or a signal asks for the end; returns the exit code.

    Raises:
        CommandFailed: it could not start, or ended with an error.
    """
    clock, stop = SystemClock(), Stop()
    client = Client(socket=settings.socket, token=token, clock=clock)
    changed, rng = asyncio.Event(), random.Random()
    around = Around(
        settings=replace(settings, node=f"{settings.node}.guest"),
        places=Places(private_folder(settings.run / "guests"), private_folder(settings.logs)),
        clock=clock,
        rng=rng,
        ports=Ports(clock, rng),
        registrar=ApiRegistrar(client),
        traffic=ReportedTraffic(client, clock),
        inherited=os.environ,
        services=lambda: {**services, service.name: service},
        policy=lambda _: Restart.NO,
        changed=changed.set,
        sending=Instrumentation(as_running(settings), os.environ, clock).sending,
    )
    life = Life(service, instance, around)
    try:
        with stop.listening():
            async with owned(f"run {instance}") as tasks:
                output = Follower(settings.logs, [service.name])
                tasks.start("output", _show(output, instance, screen, clock))
                tasks.start("progress", _tell(life, changed, settings, client, screen))
                living = tasks.start("life", life.run())
                tasks.start("stop", _obey(stop, life, screen))
                await living
                await clock.sleep(2 * POLL)  # its last lines are still being read
    finally:
        await client.close()
    if stop.asked.is_set():
        return INTERRUPTED if stop.interrupted else 0
    if life.failed:
        raise CommandFailed(life.cause or f"exit {life.exit_code}", hint=f"`atoll logs {service.name}` has all it said")
    return 0


async def _obey(stop: Stop, life: Life, screen: Screen) -> None:
    await stop.asked.wait()
    screen.stopping({life.instance: 1})
    life.stop("atoll run was ended")
    await stop.forced.wait()
    life.kill()


async def _show(output: Follower, instance: InstanceId, screen: Screen, clock: Clock) -> None:
    while True:
        for line in await asyncio.to_thread(output.poll):
            if line.instance == instance and line.kind is not Kind.NOTE:
                screen.line(line.service, line.instance, line.text)
        await clock.sleep(POLL)


async def _tell(life: Life, changed: asyncio.Event, settings: Settings, client: Client, screen: Screen) -> None:
    """Say once that it is in the registry, and where others reach it."""
    while life.phase is not Phase.RUNNING:
        await changed.wait()
        changed.clear()
    way = ""
    with contextlib.suppress(AtollError):
        known = (await client.service(life.service.name)).service
        way = next((value for name, value in peers({known.name: known}, settings).items() if name.endswith("_URL")), "")
    screen.note(
        f"{life.instance} is registered at 127.0.0.1:{life.port}" + (f"; others reach it at {way}" if way else "")
    )
