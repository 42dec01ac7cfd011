"""What the supervisor asks of the registry and of the balancer, answered by the control plane's API and the gateway."""

from __future__ import annotations

import asyncio
import contextlib

from atoll.errors import NotFound
from atoll.gateway.driver import Driver
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.model.service import State
from atoll.sdk.client import Client
from atoll.supervisor.outside import Held


class ApiRegistrar:
    """`supervisor.outside.Registrar` over the control API."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def register(self, service: ServiceName, instance: InstanceId, said: Registration) -> Held:
        """Register or renew."""
        answer = await self._client.register(service, instance, said)
        return Held(answer.lease, answer.renew_after, answer.instance.state)

    async def mark(self, service: ServiceName, instance: InstanceId, state: State, cause: str) -> None:
        """The operator's word; an instance that is not registered needs none."""
        with contextlib.suppress(NotFound):
            await self._client.set_state(service, instance, state, cause=cause)

    async def deregister(self, service: ServiceName, instance: InstanceId, lease: str) -> None:
        """Remove it; gone already is as good."""
        with contextlib.suppress(NotFound):
            await self._client.deregister(service, instance, lease=lease)


class GatewayTraffic:
    """`supervisor.outside.Traffic` over this node's HAProxy."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def routed(self, service: ServiceName, instance: InstanceId, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until HAProxy sends requests to it."""
        try:
            async with asyncio.timeout(timeout):
                await self._driver.routed(service, instance)
        except TimeoutError:
            return False
        return True

    async def idle(self, service: ServiceName, instance: InstanceId, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until HAProxy sends nothing new to it and what was in flight is finished."""
        return await self._driver.idle(service, instance, timeout)
