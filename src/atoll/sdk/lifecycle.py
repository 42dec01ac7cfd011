"""An instance from its first answer to its last: joined once it answers, a farewell before it ends.

The order at the end is deregister, drain, return: first nobody is sent to us any more, then those who are here are served,
then the process may end. Time limits make sure that it does end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Unpack

from atoll.errors import InvalidValue, LeaseConflict
from atoll.kit.backoff import Backoff
from atoll.kit.clock import Clock, SystemClock
from atoll.kit.logs import Log
from atoll.kit.tasks import Tasks, owned
from atoll.kit.watchdog import Watchdog
from atoll.sdk.control_plane import ControlPlane, told
from atoll.sdk.membership import Member
from atoll.sdk.place import Identity, Said, identity_of, place_of
from atoll.sdk.termination import held_back

LINGER = 0.5
"""Seconds that an instance serves on after its farewell at least: watchers other than gateways hear of it as well."""
HEARD_WITHIN = 5.0
"""Seconds that gateways have to take it out of rotation, where that can be seen."""
UNHEARD = 3.0
"""Seconds of serving on when the registry did not hear: a check that asks /readyz (every second, twice) takes it out."""
DRAIN = 10.0
"""Seconds that requests under way may take after that; as a node's `stop_grace`."""
LOOK = 0.1
BLOCKED = 1.0
"""Seconds without a sign of life of the event loop that are told, with the line that blocked it."""
QUIET = 60.0
log = Log("sdk")


async def answers(host: str, port: int) -> bool:
    """Whether somebody listens at our endpoint: before that, nobody should be sent there."""
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def always() -> bool:
    """For programs that do not say whether requests are under way."""
    return True


class Lifecycle:
    """What holds for one instance of one process. `member` is None when a node registers it, or nobody does."""

    def __init__(self, member: Member | None, clock: Clock, *, drain: float = DRAIN) -> None:
        self.member = member
        self.leaving = False
        """No new work is wanted."""
        self.lost: LeaseConflict | None = None
        """Another process has our id."""
        self.watchdog = Watchdog(clock, limit=BLOCKED, quiet=QUIET)
        self._clock = clock
        self._drain = drain
        self._ending = asyncio.Lock()
        self._ended = False

    async def join(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Keep the place in the registry from the moment that `ready` says yes; returns when it was left or lost."""
        if self.member is None:
            return
        backoff = Backoff(base=0.05, cap=1.0, floor=0.02)
        while not await ready():
            await self._clock.sleep(backoff.next())
        if self.leaving:
            return
        try:
            await self.member.keep()
        except LeaseConflict as error:
            self.lost = error
            log.error("the place in the registry is lost", instance=self.member.instance, reason=told(error))

    async def farewell(self, idle: Callable[[], bool] = always) -> None:
        """Deregister, serve on until nobody is sent here and nobody is served, within the limits above. Once."""
        async with self._ending:
            if self._ended:
                return
            self.leaving = self._ended = True
            if self.member is not None and self.lost is None:
                entered = self.member.renewals > 0
                heard = await self.member.leave()
                if entered:
                    await self._linger(heard)
            end = self._clock.now() + self._drain
            while not idle():
                if self._clock.now() >= end:
                    log.warning("requests under way are abandoned", seconds=self._drain)
                    return
                await self._clock.sleep(LOOK)

    async def _linger(self, heard: bool) -> None:
        assert self.member is not None
        if not heard:
            await self._clock.sleep(UNHEARD)
            return
        end = self._clock.now() + HEARD_WITHIN
        await self._clock.sleep(LINGER)
        while self.member.left is not None and self._clock.now() < end and not await self.member.routed_away():
            await self._clock.sleep(LOOK)


@asynccontextmanager
async def living(
    identity: Identity | None, environ: Mapping[str, str], *, take_over: bool, drain: float, clock: Clock
) -> AsyncIterator[tuple[Lifecycle, Tasks]]:
    """A lifecycle with its connection to the control plane and a watch on the event loop, for the length of the block."""
    if identity is None or identity.by_node:
        member, line = None, None
    else:
        line = ControlPlane(place_of(environ), clock)
        member = Member(identity.service, identity.instance, identity.said, line, clock, take_over=take_over)
    life = Lifecycle(member, clock, drain=drain)
    try:
        async with life.watchdog.watching(), owned("atoll") as tasks:
            yield life, tasks
    finally:
        if line is not None:
            await line.close()


@asynccontextmanager
async def joined(
    service: str | None = None,
    *,
    take_over: bool = False,
    drain: float = DRAIN,
    idle: Callable[[], bool] = always,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    **said: Unpack[Said],
) -> AsyncIterator[Lifecycle]:
    """`async with atoll.joined("orders", port=8000):` is in the registry for the length of the block.

    The block begins at once, whether the control plane answers or not; the registration (`said`, see `place.Said`)
    follows as soon as somebody listens at the endpoint. At its end the instance deregisters, serves on until the
    gateways know (and `idle` says yes, within `drain` seconds), then the block returns. On SIGTERM the same happens
    while the body runs on; then a handler that was there before gets the signal, or, without one, the body is cancelled
    and the block returns normally. Started by an atoll node, the process is registered by that node.

    Raises:
        InvalidName, InvalidValue, AddressForbidden: what was said can never be registered.
        LeaseConflict: another process registered under the same id after this one (not with `take_over`); the body is
            cancelled.
    """
    environ = os.environ if environ is None else environ
    clock = clock or SystemClock()
    identity = identity_of(environ, service, **said)
    if identity is None:
        raise InvalidValue("no service is named", hint='say joined("orders", …), or set ATOLL_SERVICE', field="service")
    body = asyncio.current_task()
    assert body is not None
    cancelled = False

    def end_body() -> None:
        nonlocal cancelled
        cancelled = True
        body.cancel()

    failure: Exception | None = None
    async with living(identity, environ, take_over=take_over, drain=drain, clock=clock) as (life, tasks):

        async def keep() -> None:
            await life.join(partial(answers, identity.said.host, identity.said.port))
            if life.lost is not None:
                end_body()

        async def end() -> None:
            await life.farewell(idle)
            if termination.nobody_else:
                end_body()
            else:
                termination.pass_on()

        tasks.start("membership", keep())
        with held_back(lambda: tasks.start("farewell", end())) as termination:
            try:
                try:
                    yield life
                except Exception as error:  # noqa: BLE001 - raised below as it is, outside of the task group
                    failure = error
                finally:
                    await asyncio.shield(tasks.start("leave", life.farewell(idle)))
            except asyncio.CancelledError:
                if not cancelled or body.uncancel() > 0:
                    raise
    if failure is not None:
        raise failure
    if life.lost is not None:
        raise life.lost
