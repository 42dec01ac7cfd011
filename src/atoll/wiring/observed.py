"""The platform as its telemetry process sees it: who may be asked for metrics, and what nodes report of instances.

Follows the control plane's facts over the unix socket, for ever; while that is away the last known list stays in use.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from atoll.kit.clock import Clock
from atoll.kit.tasks import owned
from atoll.model.keys import INSTANCES, SERVICES
from atoll.model.report import NodeReport
from atoll.model.snapshot import Snapshot
from atoll.sdk.client import Client
from atoll.sdk.watch import Watch
from atoll.settings import Settings
from atoll.telemetry.metrics.target import Target, targets_of

FRESH = 15.0
"""Seconds after which a node's report says nothing about now."""
OWN = "atoll"
"""The service that our own parts are."""


class Observed:
    """See `telemetry.metrics.pull.Platform`. Made by `observing`."""

    def __init__(self, settings: Settings, clock: Clock, token: str) -> None:
        self._client = Client(token=token, socket=settings.socket, clock=clock)
        self._watch = Watch(self._client, [SERVICES, INSTANCES], clock)
        self._own = (
            _part("control-plane", str(settings.socket), "/metrics", token),
            _part("telemetry", str(settings.telemetry_socket), "/api/v1/telemetry/metrics", ""),
        )
        self._targets: tuple[Target, ...] = self._own

    async def follow(self) -> None:
        """Keep the list current, for ever."""
        snapshot = Snapshot()
        async for batch in self._watch:
            snapshot = batch.apply(snapshot)
            self._targets = (*self._own, *targets_of(snapshot.services.values(), snapshot.instances.values()))

    def targets(self) -> Sequence[Target]:
        """Who may have metrics now."""
        return self._targets

    async def nodes(self) -> Sequence[NodeReport]:
        """What nodes report.

        Raises:
            Unreachable: the control plane is away.
        """
        return [node.report for node in (await self._client.nodes()).nodes if node.age < FRESH]

    async def close(self) -> None:
        """Close the connections to the control plane."""
        await self._client.close()


def _part(name: str, socket: str, path: str, token: str) -> Target:
    return Target(
        service=OWN,
        instance=name,
        host="",
        port=0,
        path=path,
        socket=socket,
        token=token,
        asked_for=True,
        own_labels=True,
    )


@asynccontextmanager
async def observing(settings: Settings, clock: Clock, token: str) -> AsyncIterator[Observed]:
    """The platform, followed for the length of the block."""
    observed = Observed(settings, clock, token)
    try:
        async with owned("observed") as tasks:
            tasks.start("follow", observed.follow())
            yield observed
    finally:
        await observed.close()
