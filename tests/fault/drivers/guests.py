"""Instances of one service that register themselves, renew and leave: who comes and who goes is the caller's lot.

One that was not heard leaving (its control plane had just died) is still registered, so it stays and renews: a goodbye
that is lost would otherwise be an expiry, and a right one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from atoll.testing.history import History
from tests.fault.drivers.driver_register import Registrant
from tests.fault.drivers.http import Client
from tests.fault.drivers.upstream import Upstream


class Guests:
    """At most one instance per place; `here` are those that are registered, as far as we know."""

    def __init__(self, service: str, places: Sequence[Upstream], history: History, *, ttl: float) -> None:
        self.service = service
        self.here: dict[int, Registrant] = {}
        self.not_heard = 0
        """Goodbyes that nobody answered."""
        self._due: dict[int, float] = {}
        self._places = places
        self._history = history
        self._ttl = ttl

    async def renew(self, client: Client) -> None:
        """Renew whoever is due."""
        for number in list(self.here):
            if time.monotonic() >= self._due[number]:
                await self._renew(client, number)

    async def turn(self, client: Client, number: int) -> None:
        """Guest `number` comes, or goes if it is here."""
        if number not in self.here:
            self.here[number] = Registrant(self.service, f"g-{number}", self._places[number].port, ttl=self._ttl)
            await self._renew(client, number)
        elif await self.here[number].leave(client, self._history):
            del self.here[number]
        else:
            self.not_heard += 1

    async def _renew(self, client: Client, number: int) -> None:
        wait = await self.here[number].renew(client, self._history)
        self._due[number] = time.monotonic() + wait
