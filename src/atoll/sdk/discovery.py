"""Who answers for a service, kept current from the control plane and kept in use when that is gone.

Promises: once known, the list stays usable for as long as the caller allows (`max_stale`), with its age shown; a cut,
garbled or endless watch becomes a typed error in `trouble` and is resumed by revision. Bounded: one service's
instances, one event. "Nothing heard yet" and "heard: nobody" are different answers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from atoll.errors import AtollError, InvalidValue, NotReady, Stale
from atoll.kit.clock import Clock, SystemClock
from atoll.kit.tasks import owned
from atoll.model.keys import INSTANCES
from atoll.model.names import ServiceName, service_name
from atoll.model.service import Instance, State
from atoll.model.snapshot import Snapshot
from atoll.sdk.control_plane import ControlPlane, told
from atoll.sdk.place import place_of
from atoll.sdk.watch import Source, Watch

PREFERRED = frozenset({State.PASSING, State.SUSPECT})


class Endpoints:
    """The routable instances of one service. Made by `endpoints`."""

    def __init__(self, service: ServiceName, source: Source, clock: Clock, *, max_stale: float | None = None) -> None:
        self.service = service
        self.max_stale = max_stale
        self._watch = Watch(source, [f"{INSTANCES}{service}/"], clock)
        self._snapshot = Snapshot()
        self._known: tuple[Instance, ...] = ()
        self._heard = asyncio.Event()

    @property
    def age(self) -> float:
        """Seconds since the list was last known to be current; grows while the control plane is away."""
        return self._watch.age

    @property
    def connected(self) -> bool:
        """Whether the control plane is listened to right now."""
        return self._watch.connected

    @property
    def trouble(self) -> AtollError | None:
        """Why it is not; None when it is."""
        return self._watch.error

    @property
    def revision(self) -> int:
        """The store revision that the list is true at."""
        return self._watch.revision

    @property
    def failures(self) -> int:
        """Connections to the control plane that failed or broke, so far."""
        return self._watch.failures

    def all(self) -> tuple[Instance, ...]:
        """Everybody who may be sent requests, by id; empty when the registry knows nobody.

        Draining, maintained and weightless instances are left out, and failing ones as long as there is another.

        Raises:
            NotReady: nothing was heard yet; see `ready`.
            Stale: the list is older than `max_stale` seconds.
        """
        if not self._heard.is_set():
            why = f": {told(self.trouble)}" if self.trouble is not None else ""
            raise NotReady(f"nothing was heard of {self.service} yet{why}", hint="wait with `await endpoints.ready()`")
        if self.max_stale is not None and self.age > self.max_stale:
            raise Stale(
                f"the instances of {self.service} were last known {self.age:.1f} s ago, allowed are {self.max_stale:g} s",
                hint="the control plane does not answer; allow more with max_stale, or start it",
                service=self.service,
                age=round(self.age, 3),
            )
        return self._known

    async def ready(self, within: float = 10.0) -> tuple[Instance, ...]:
        """As `all`, but waits for the first answer up to `within` seconds.

        Raises:
            NotReady: none came; the reason is in the message.
            Stale: as `all`.
        """
        try:
            async with asyncio.timeout(within):
                await self._heard.wait()
        except TimeoutError:
            pass  # `all` says why
        return self.all()

    async def follow(self) -> None:
        """Keep the list current, for ever."""
        async for batch in self._watch:
            self._snapshot = batch.apply(self._snapshot)
            self._known = _routable(self._snapshot.of(self.service))
            self._heard.set()


def _routable(instances: list[Instance]) -> tuple[Instance, ...]:
    takers = [one for one in instances if one.weight > 0]
    preferred = tuple(one for one in takers if one.state in PREFERRED)
    return preferred or tuple(one for one in takers if one.state is State.FAILING)


@asynccontextmanager
async def endpoints(
    service: str,
    *,
    max_stale: float | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Endpoints]:
    """`async with atoll.endpoints("payments") as payments:` knows the instances of a service for the length of the block.

    The block begins at once. `max_stale`: seconds that a list may be old; None allows any age.

    Raises:
        InvalidName, InvalidValue: the service's name, `max_stale` or ATOLL_URL.
    """
    if max_stale is not None and not max_stale > 0:
        raise InvalidValue("max_stale is not over 0", hint="give seconds, or None for any age", field="max_stale")
    clock = clock or SystemClock()
    line = ControlPlane(place_of(os.environ if environ is None else environ), clock)
    found = Endpoints(service_name(service), line, clock, max_stale=max_stale)
    failure: Exception | None = None
    try:
        async with owned("endpoints") as tasks:
            tasks.start("follow", found.follow())
            try:
                yield found
            except Exception as error:  # noqa: BLE001 - raised below as it is, outside of the task group
                failure = error
    finally:
        await line.close()
    if failure is not None:
        raise failure
