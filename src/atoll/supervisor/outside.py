"""What the supervisor needs from the rest of the platform: three small promises that wiring keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.model.service import State


@dataclass(frozen=True)
class Held:
    """A registration that was accepted. `renew_after` in seconds; `state` is what the registry believes of it now."""

    lease: str
    renew_after: float
    state: State = State.PASSING


class Registrar(Protocol):
    """The control plane's registry. Every method may raise AtollError or OSError: it is then tried again."""

    async def register(self, service: ServiceName, instance: InstanceId, said: Registration) -> Held:
        """Register, or renew when `said.lease` is the one held (idempotent).

        Raises:
            LeaseConflict: a newer registration of this id holds it; registering without a lease takes it back.
        """

    async def mark(self, service: ServiceName, instance: InstanceId, state: State, cause: str) -> None:
        """Set it DRAINING (out of the balancer, keeps its place), or PASSING again. Unknown instances are ignored."""

    async def deregister(self, service: ServiceName, instance: InstanceId, lease: str) -> None:
        """Remove it for good; one that is not there is fine."""


class Traffic(Protocol):
    """The balancer. Both answer False after `timeout` seconds and never raise."""

    async def routed(self, service: ServiceName, instance: InstanceId, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until the balancer sends requests to it."""

    async def idle(self, service: ServiceName, instance: InstanceId, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until the balancer sends nothing new to it and what was in flight is finished."""
