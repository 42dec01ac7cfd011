"""Writes through the control plane's API: each is one `commit` of one service fact whose check path is used once."""

from __future__ import annotations

import random
from pathlib import Path

from atoll.testing.history import History
from tests.fault.drivers.driver_register import code_of
from tests.fault.drivers.http import Broken, Client
from tests.fault.drivers.pace import paced


async def driver_api_writes(
    history: History,
    place: tuple[str, int] | Path,
    token: str,
    client: str,
    *,
    rng: random.Random,
    services: int = 8,
    rate: float = 20.0,
    calls: int = 1000,
    seconds: float = 10.0,
) -> int:
    """Declare services anew until the time is over, through deaths of the control plane; returns how many were acknowledged.

    The operations are recorded as the store's words, so the checks of `atoll.testing.promises` judge them.
    """
    acknowledged = 0
    with Client(place, headers={"Authorization": f"Bearer {token}"}) as http:
        async for number in paced(rate, calls=calls, seconds=seconds):
            name, value = f"{client}-{rng.randrange(services)}", f"/{client}/{number}/{rng.randrange(1 << 30)}"
            operation = {"kind": "put", "key": f"services/{name}", "value": value}
            body = {"name": name, "check": {"kind": "http", "path": value}}
            with history.call(client, "commit", operations=[operation]) as call:
                try:
                    answer = await http.ask("PUT", f"/api/v1/services/{name}", body)
                except Broken as broken:
                    call.lost(broken.how)
                    continue
                if answer.status in {200, 201}:
                    call.answered(revision=int(answer.json()["revision"]))
                    acknowledged += 1
                elif answer.status in {500, 503}:
                    call.lost(code_of(answer))
                else:
                    call.refused(code_of(answer))
    return acknowledged
