"""A registry in memory that answers as a test tells it to."""

from __future__ import annotations

from collections.abc import Callable

from atoll.errors import AtollError, Unreachable
from atoll.model.answers import Registered, Written
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration, instance_of
from atoll.testing import FakeClock


class Registry:
    """Remembers what it was told; `refuses` is raised while it is set, `next` once each."""

    def __init__(self) -> None:
        self.said: list[Registration] = []
        self.times: list[float] = []
        self.left: list[str] = []
        self.refuses: AtollError | None = None
        self.once: list[AtollError] = []
        self.renew_after = 5.0
        self.leases = 0
        self.revision = 10
        self.gateways = 0
        """The revision that the gateways run."""
        self.clock: Callable[[], float] = FakeClock().now

    @property
    def shown(self) -> list[str]:
        return [said.lease for said in self.said]

    async def register(self, service: ServiceName, instance: InstanceId, said: Registration) -> Registered:
        self.said.append(said)
        self.times.append(self.clock())
        if self.once:
            raise self.once.pop(0)
        if self.refuses is not None:
            raise self.refuses
        if not said.lease:
            self.leases += 1
        return Registered(
            instance=instance_of(service, instance, said),
            lease=said.lease or f"lease-{self.leases}",
            ttl=15.0,
            renew_after=self.renew_after,
            revision=self.revision,
        )

    async def deregister(self, service: ServiceName, instance: InstanceId, lease: str) -> Written:
        if self.refuses is not None:
            raise self.refuses
        self.left.append(lease)
        return Written(revision=self.revision + 1)

    async def gateways_know(self, revision: int) -> bool:
        if self.refuses is not None:
            raise Unreachable("away")
        return self.gateways >= revision
