"""One instance's place in the registry, held by the instance itself: entered, renewed, taken again when lost, left.

Promises: the control plane may be away, slow or wrong for as long as it likes, and the service notices nothing; it is
asked again with jittered back-off, and never in step with others. Who holds a lease has no hurry: however many they are,
they ask a control plane that comes back hardly more often than one that was never away. Every renewal carries the whole registration, so a
control plane that lost everything is told anew within one interval. A newer holder of the id is not fought, unless
that was asked for. After a farewell that was heard nothing is registered any more, not even by a call under way.
"""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

import msgspec

from atoll.errors import AtollError, LeaseConflict, LeaseExpired, NotFound
from atoll.kit.backoff import Backoff
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.model import lease
from atoll.model.answers import Registered, Written
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.model.service import State
from atoll.sdk.control_plane import told

JITTER = 0.2
"""Share by which renewals vary, so that services that were started together do not renew together."""
UNHURRIED = 0.5
"""Least share of the renewal interval until a renewal that failed is tried again; at most it is the whole. The lease
outlasts two such attempts, and the herd after a restart stays under twice the usual rate (faults.md, A8)."""
CAP = 5.0
"""Seconds between two attempts at most; never more than the renewal interval, so two intervals always see an attempt."""
SHORTEST = 0.2
"""Seconds between two renewals at least, whatever the control plane says."""
FAREWELL = 2.0
"""Seconds that deregistering may take; a control plane that is away must not hold up an end."""
log = Log("sdk")


class Registrar(Protocol):
    """Who takes registrations: `ControlPlane`, or a fake. Each call is one attempt and raises AtollError."""

    async def register(self, service: ServiceName, instance: InstanceId, said: Registration) -> Registered:
        """Register, or renew when `said.lease` is shown."""

    async def deregister(self, service: ServiceName, instance: InstanceId, lease: str) -> Written:
        """Remove the registration with this lease."""

    async def gateways_know(self, revision: int) -> bool:
        """Whether every gateway runs what was true at `revision`."""


class Member:
    """Run `keep` in a task, call `leave` at the end."""

    def __init__(
        self,
        service: ServiceName,
        instance: InstanceId,
        said: Registration,
        registrar: Registrar,
        clock: Clock,
        *,
        take_over: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        self.service = service
        self.instance = instance
        self.registered = False
        """Whether the last call was taken."""
        self.trouble: AtollError | None = None
        """Why it was not; None: it was, or there was none yet."""
        self.state: State | None = None
        """What the registry believes of this instance, as of the last renewal."""
        self.renewals = 0
        """Calls that were taken, the first included."""
        self.anew = 0
        """Times that it had to register again because its lease had ended or was taken."""
        self.left: int | None = None
        """The revision of the farewell, once the registry has heard it."""
        self._said = said
        self._registrar = registrar
        self._clock = clock
        self._take_over = take_over
        self._rng = rng or random.Random()
        self._lease = ""
        self._leaving = False
        self._call = asyncio.Lock()
        interval = (said.ttl or lease.TTL_DEFAULT) / lease.RENEWALS_PER_TTL
        self._longest = min(CAP, max(interval, SHORTEST))
        self._backoff = Backoff(base=0.1, cap=self._longest, rng=self._rng)

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port that were registered."""
        return self._said.host, self._said.port

    async def keep(self) -> None:
        """Register and renew; returns once `leave` was called, else only by cancellation.

        Raises:
            LeaseConflict: another process registered under this id after us, and we may not take over.
        """
        while True:
            async with self._call:
                if self._leaving:
                    return
                pause = await self._once()
            await self._clock.sleep(pause)

    async def _once(self) -> float:
        """One call; the seconds until the next."""
        try:
            answer = await self._registrar.register(
                self.service, self.instance, msgspec.structs.replace(self._said, lease=self._lease)
            )
        except LeaseConflict as error:
            self.anew += 1
            self._lost(error)
            if not self._take_over:
                raise LeaseConflict(
                    f"another process registered as {self.service}/{self.instance} after this one; this one has stopped renewing",
                    hint="give each process an id of its own (ATOLL_INSTANCE), or let this one take over (take_over=True)",
                    service=self.service,
                    instance=self.instance,
                ) from error
            return self._backoff.next()
        except LeaseExpired as error:
            self.anew += 1
            known = bool(self._lease)
            self._lost(error)
            return 0.0 if known else self._backoff.next()
        except AtollError as error:
            self._failed(error)
            return max(self._patience(), self._asked_to_wait(error))
        self._taken(answer)
        interval = answer.renew_after
        if not SHORTEST <= interval <= lease.TTL_CEILING:  # NaN compares false and is replaced as well
            interval = lease.TTL_DEFAULT / lease.RENEWALS_PER_TTL
        return interval * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _patience(self) -> float:
        """Seconds until an attempt that failed is made again."""
        if self._lease:
            return self._longest * self._rng.uniform(UNHURRIED, 1)
        return self._backoff.next()

    def _taken(self, answer: Registered) -> None:
        if not self.registered:
            log.info("registered", service=self.service, instance=self.instance, revision=answer.revision)
        self._lease, self.state = answer.lease, answer.instance.state
        self.registered, self.trouble = True, None
        self.renewals += 1
        self._backoff.reset()

    def _failed(self, error: AtollError) -> None:
        """Told once for each kind of trouble, however long it lasts."""
        if self.trouble is None or self.trouble.code != error.code:
            log.warning("the registry did not take us; trying on", instance=self.instance, reason=told(error))
        self.registered, self.trouble = False, error

    def _lost(self, error: AtollError) -> None:
        self._failed(error)
        self._lease = ""

    def _asked_to_wait(self, error: AtollError) -> float:
        seconds = error.fields.get("retry_after")
        if isinstance(seconds, int | float) and 0 < seconds <= lease.TTL_DEFAULT:
            return float(seconds) * self._rng.uniform(1, 1 + JITTER)
        return 0.0

    async def leave(self) -> bool:
        """Deregister, unless we are not registered; whether nobody can find this instance any more. Never raises.

        A registration under way is waited for, so that it cannot arrive after the farewell. All of it within FAREWELL.
        """
        self._leaving = True
        try:
            async with asyncio.timeout(FAREWELL), self._call:
                if self._lease:
                    self.left = (await self._registrar.deregister(self.service, self.instance, self._lease)).revision
        except (NotFound, LeaseConflict, LeaseExpired):
            pass  # gone already, or another process's now
        except (AtollError, TimeoutError) as error:
            reason = told(error) if isinstance(error, AtollError) else "no answer"
            log.warning("the registry did not hear our farewell", instance=self.instance, reason=reason)
            return False
        self.registered, self._lease = False, ""
        return True

    async def routed_away(self) -> bool:
        """Whether every gateway is known to have heard the farewell."""
        if self.left is None:
            return False
        try:
            return await self._registrar.gateways_know(self.left)
        except AtollError:
            return False
