"""The faults of the soak, one of them every half minute: each from its beginning to its end, and what it may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.fault.drivers.http import Broken, Client
from tests.fault.faults.process import kill, paused

if TYPE_CHECKING:
    from tests.fault.soak import Soak

SERVES_WITHIN = 30.0
"""Seconds until a killed HAProxy must serve again; a bound against hanging."""


async def kill_one_of_two(soak: Soak) -> None:
    pids = await asyncio.to_thread(soak.fleet.platform.pids, soak.pair())
    kill(soak.rng.choice(sorted(pids.values())))


async def kill_a_single_instance(soak: Soak) -> None:
    service = soak.single()
    pids = await asyncio.to_thread(soak.fleet.platform.pids, service)
    async with soak.costs(service):
        kill(soak.rng.choice(sorted(pids.values())))


async def kill_the_control_plane(soak: Soak) -> None:
    kill(_there((await asyncio.to_thread(soak.fleet.parts)).control_plane))


async def kill_an_haproxy_worker(soak: Soak) -> None:
    workers = sorted((await asyncio.to_thread(soak.fleet.parts)).workers)
    async with soak.costs():
        kill(soak.rng.choice(workers))
        with Client(soak.fleet.place) as client:
            async with asyncio.timeout(SERVES_WITHIN):
                while not await _serves(client):  # noqa: ASYNC110 -- it is seen from outside
                    await asyncio.sleep(0.05)


async def pause_an_instance(soak: Soak) -> None:
    service = soak.rng.choice([soak.pair(), soak.single()])
    pids = await asyncio.to_thread(soak.fleet.platform.pids, service)
    async with soak.costs(service):
        with paused(soak.rng.choice(sorted(pids.values()))):
            await asyncio.sleep(soak.rng.uniform(2, 8))


async def pause_the_control_plane(soak: Soak) -> None:
    with paused(_there((await asyncio.to_thread(soak.fleet.parts)).control_plane)):
        await asyncio.sleep(soak.rng.uniform(2, 12))


async def scale_up_and_down(soak: Soak) -> None:
    service = soak.pair()
    await soak.do("POST", f"/services/{service}/scale", {"replicas": 3})
    await asyncio.sleep(soak.rng.uniform(0.5, 5))
    await soak.do("POST", f"/services/{service}/scale", {"replicas": 2})


async def restart_rolling(soak: Soak) -> None:
    await soak.do("POST", f"/services/{soak.pair()}/restart", {"rolling": True})
    await asyncio.sleep(3)


async def change_routes(soak: Soak) -> None:
    for number in range(5):
        name = f"soak-{number}"
        body = {"name": name, "match": {"path": f"/{name}"}, "shares": [{"service": soak.pair()}]}
        if number == 4:
            body["match"] = {"path": f"/{name}", "headers": {f"x-soak-{soak.rng.randrange(3)}": "1"}}
        await soak.do("PUT", f"/routes/{name}", body)
    await asyncio.sleep(soak.rng.uniform(0, 3))
    for number in range(5):
        await soak.do("DELETE", f"/routes/soak-{number}")


FAULTS: dict[str, Callable[[Soak], Awaitable[None]]] = {
    made.__name__.replace("_", " "): made
    for made in (
        kill_one_of_two,
        kill_a_single_instance,
        kill_the_control_plane,
        kill_an_haproxy_worker,
        pause_an_instance,
        pause_the_control_plane,
        scale_up_and_down,
        restart_rolling,
        change_routes,
    )
}


FATAL = frozenset({"kill the control plane", "kill an haproxy worker"})
"""They end a process of ours. A second half is spared them, for a life of minutes tells nothing of its memory."""


async def _serves(client: Client) -> bool:
    try:
        return (await client.ask("GET", "/s00/x", timeout=1.0)).status == 200
    except Broken:
        return False


def _there(pid: int | None) -> int:
    if pid is None:
        raise LookupError("it does not run")
    return pid
