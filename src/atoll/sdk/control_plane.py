"""The control plane that the environment names, reached when first needed.

Promises: nothing is read or opened before the first call; a token that is not there yet, or was replaced, is looked for
again at the next call; every failure is an AtollError. Refuses to repeat anything: whoever calls decides that. One user, one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from atoll.errors import AtollError, Unauthorized, Unreachable
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.model.answers import FactChange, FactPage, Registered, Written
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.sdk.client import Client
from atoll.sdk.place import Place, read_token

TIMEOUT = 5.0
"""Seconds for one answer: a renewal interval of the usual TTL, so that two attempts fit into a lease."""
ANSWER_LIMIT = 32 << 20
"""Bytes of one answer: some 50,000 instances. It is held in the memory of somebody's service."""
REPORT_AGE = 5.0
"""Seconds after which a node that reports every second is not waited for."""
log = Log("sdk")


class ControlPlane:
    """One control plane, as a `membership.Registrar` and a `watch.Source`."""

    def __init__(self, place: Place, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        self._open: Client | None = None

    async def close(self) -> None:
        """Close its connections; the next call opens new ones."""
        if self._open is not None:
            client, self._open = self._open, None
            await client.close()

    async def register(self, service: ServiceName, instance: InstanceId, said: Registration) -> Registered:
        """As `Client.register`."""
        async with self._client() as client:
            return await client.register(service, instance, said)

    async def deregister(self, service: ServiceName, instance: InstanceId, lease: str) -> Written:
        """As `Client.deregister`."""
        async with self._client() as client:
            return await client.deregister(service, instance, lease=lease)

    async def gateways_know(self, revision: int) -> bool:
        """Whether every gateway that reports runs what was true at `revision`, or something newer."""
        async with self._client() as client:
            nodes = (await client.nodes()).nodes
        running = (node.report.gateway for node in nodes if node.age < REPORT_AGE)
        return all(gateway.revision >= revision for gateway in running if gateway.pid is not None)

    async def facts(self, prefixes: Sequence[str]) -> FactPage:
        """As `Client.facts`."""
        async with self._client() as client:
            return await client.facts(prefixes)

    @asynccontextmanager
    async def changes(self, prefixes: Sequence[str], start: int) -> AsyncIterator[AsyncIterator[FactChange]]:
        """As `Client.changes`."""
        async with self._client() as client, client.changes(prefixes, start) as changes:
            yield changes

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
        try:
            if self._open is None:
                token = await asyncio.to_thread(read_token, self._place)
                self._open = Client(
                    token=token, url=self._place.url, timeout=TIMEOUT, clock=self._clock, answer_limit=ANSWER_LIMIT
                )
            yield self._open
        except Unauthorized:
            await self.close()
            raise
        except AtollError:
            raise
        except Exception as error:  # a service does not end because of what its control plane, or our client, does
            log.error("asking the control plane failed in a way nobody foresaw", error=repr(error))
            raise Unreachable(
                f"asking the control plane failed: {type(error).__name__}", hint="the log says how"
            ) from error


def told(error: AtollError) -> str:
    """An error in one line, for a person: what, and what to do."""
    return f"{error.detail} ({error.hint})" if error.hint else error.detail
