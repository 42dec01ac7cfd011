"""One instance's place in the registry: entered when it passes, renewed while it runs, drained, left at the end.

A control plane that is away changes nothing for the child: every call is retried with back-off, or given up within its
deadline where the child is ending anyway (its registration then ends by its TTL).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import msgspec

from atoll.errors import AtollError, LeaseConflict, LeaseExpired
from atoll.kit.backoff import Backoff
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.kit.text import scrub
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.model.service import State
from atoll.supervisor.outside import Held, Registrar

JITTER = 0.2
"""Share by which renewals vary, so that a node's children do not renew in one burst."""
PATIENCE = 1.0
"""Seconds between two tries to register at most, while the control plane is away."""
FAREWELL = 2.0
"""Seconds that draining or deregistering may take when the control plane does not answer."""

log = Log("supervisor")


@dataclass
class Membership:
    """`keep` holds the place; the other calls change it. `registered` tells whether the registry has accepted it."""

    service: ServiceName
    instance: InstanceId
    registrar: Registrar
    clock: Clock
    rng: random.Random
    changed: Callable[[], None]
    registered: bool = False
    trouble: str = ""
    """Why the last call failed; empty when it did not."""
    _lease: str = ""

    async def keep(self, said: Callable[[], Registration], *, fresh: bool) -> None:
        """Register and renew until cancelled. `fresh`: a new process, so an older drain mark is taken away."""
        backoff = Backoff(base=0.1, cap=PATIENCE, rng=self.rng)
        while True:
            try:
                held = await self._register(said())
                if fresh and held.state in {State.DRAINING, State.MAINT}:
                    await self.registrar.mark(self.service, self.instance, State.PASSING, "")
            except (AtollError, OSError) as error:
                self._failed(error)
                await self.clock.sleep(backoff.next())
                continue
            fresh = False
            backoff.reset()
            if not self.registered or self.trouble:
                self.registered, self.trouble = True, ""
                self.changed()
            await self.clock.sleep(held.renew_after * self.rng.uniform(1 - JITTER, 1 + JITTER))

    async def _register(self, said: Registration) -> Held:
        try:
            held = await self.registrar.register(
                self.service, self.instance, msgspec.structs.replace(said, lease=self._lease)
            )
        except (LeaseConflict, LeaseExpired):
            # The process is ours and answers at this endpoint; whoever else took the id holds a stale copy of it.
            log.warning("lease lost, registering anew", service=self.service, instance=self.instance)
            held = await self.registrar.register(self.service, self.instance, msgspec.structs.replace(said, lease=""))
        self._lease = held.lease
        return held

    async def drain(self, cause: str, *, patient: bool = False) -> bool:
        """Out of the balancer, keeping the place; whether the registry heard it in time. See `leave` for `patient`."""
        tell = partial(self.registrar.mark, self.service, self.instance, State.DRAINING, cause)
        return await self._bounded("drain", tell, patient=patient)

    async def leave(self) -> None:
        """Remove the registration, if there may be one; patient, for a control plane that died is back in a second."""
        tell = partial(self.registrar.deregister, self.service, self.instance, self._lease)
        await self._bounded("deregister", tell, patient=True)
        self.registered, self._lease = False, ""

    async def _bounded(self, what: str, tell: Callable[[], Awaitable[None]], *, patient: bool) -> bool:
        backoff = Backoff(base=0.1, cap=PATIENCE / 2, rng=self.rng)
        until = self.clock.now() + FAREWELL
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while self.clock.now() < until:
                    try:
                        await tell()
                        return True
                    except (AtollError, OSError) as error:
                        self._failed(error)
                        if not patient or (isinstance(error, AtollError) and not error.retryable):
                            break
                    await self.clock.sleep(backoff.next())
        log.warning("registry did not hear", what=what, instance=self.instance, cause=self.trouble or "no answer")
        return False

    def _failed(self, error: Exception) -> None:
        self.trouble = scrub(str(error) or type(error).__name__, limit=200)
        self.changed()
