"""Simulated instances: they register, renew at a third of their TTL give or take a fifth, and record every answer."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from atoll.testing.history import History
from tests.fault.drivers.http import Answer, Broken, Client

SPREAD = 0.2
"""Share by which renewals differ from a third of the TTL, as the SDK does it."""
CLIENT_LIMIT = 500
"""Simulated instances in one loop."""


class Registrant:
    """One simulated instance; `lease` is what it shows when it renews."""

    def __init__(self, service: str, instance: str, port: int, *, ttl: float = 15.0, host: str = "127.0.0.1") -> None:
        self.service = service
        self.instance = instance
        self.body: dict[str, Any] = {"host": host, "port": port, "ttl": ttl}
        self.ttl = ttl
        self.lease = ""

    @property
    def path(self) -> str:
        """Its place in the API."""
        return f"/api/v1/services/{self.service}/instances/{self.instance}"

    async def renew(self, client: Client, history: History) -> float:
        """One recorded registration or renewal; returns the seconds to wait before the next."""
        name = "renew" if self.lease else "register"
        shown = {"lease": self.lease} if self.lease else {}
        with history.call(f"{self.service}/{self.instance}", name, ttl=self.ttl) as call:
            try:
                answer = await client.ask("PUT", self.path, {**self.body, **shown})
            except Broken as broken:
                call.lost(broken.how)
                return 1.0
            if answer.status in {200, 201}:
                words = answer.json()
                self.lease = words["lease"]
                call.answered({"status": answer.status}, revision=words["revision"])
                return self.ttl / 3
            call.refused(code_of(answer), value={"status": answer.status})
            if answer.status in {409, 410}:
                self.lease = ""
            return float(answer.headers.get("retry-after", 1.0))

    async def leave(self, client: Client, history: History) -> bool:
        """Deregister, recorded; False when it may still be registered."""
        with history.call(f"{self.service}/{self.instance}", "deregister") as call:
            try:
                answer = await client.ask("DELETE", f"{self.path}?lease={self.lease}")
            except Broken as broken:
                call.lost(broken.how)
                return False
            if answer.status < 300:
                call.answered({"status": answer.status})
            else:
                call.refused(code_of(answer))
            return answer.status < 500


async def driver_register(
    history: History,
    place: tuple[str, int] | Path,
    token: str,
    registrants: list[Registrant],
    *,
    rng: random.Random,
    seconds: float = 10.0,
    stop: asyncio.Event | None = None,
    leave: bool = False,
) -> None:
    """Keep `registrants` registered for `seconds` or until `stop`; then they `leave`, or fall silent."""
    assert len(registrants) <= CLIENT_LIMIT
    ended = stop or asyncio.Event()

    async def live(registrant: Registrant) -> None:
        with Client(place, headers={"Authorization": f"Bearer {token}"}) as client:
            while not ended.is_set():
                wait = await registrant.renew(client, history)
                try:
                    await asyncio.wait_for(ended.wait(), wait * rng.uniform(1 - SPREAD, 1 + SPREAD))
                except TimeoutError:
                    continue
            if leave:
                await registrant.leave(client, history)

    async with asyncio.TaskGroup() as group:
        for registrant in registrants:
            group.create_task(live(registrant))
        try:
            await asyncio.wait_for(ended.wait(), seconds)
        except TimeoutError:
            ended.set()


def code_of(answer: Answer) -> str:
    """The error code of a refusal."""
    try:
        return str(answer.json()["code"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status}"
