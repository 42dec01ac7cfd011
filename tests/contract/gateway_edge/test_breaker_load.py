"""A service that always fails, under load: its breaker opens, only probes reach it, and it closes by itself."""

from __future__ import annotations

import asyncio
import itertools

from atoll.model.breaker import Breaker, BreakerState
from atoll.model.policy import Policy
from tests.contract.gateway_edge.world import Client, World

LEAST, PROBES, OPEN = 20, 3, 1
CLIENTS, EVERY = 10, 0.05
"""Ten clients, each with twenty requests a second at most."""


async def test_a_failing_service_sees_only_probes_and_is_taken_back_when_it_recovers(world: World) -> None:
    breaker = Breaker(enabled=True, min_requests=LEAST, window=5, open=OPEN, probes=PROBES)
    world.service("web", policy=Policy(circuit_breaker=breaker))
    upstream = await world.upstream("web")
    world.instance("web", "web", upstream.port)
    world.route("web", "/web", "web")
    await world.push()
    loop = asyncio.get_running_loop()
    statuses: list[tuple[float, int]] = []
    over = False

    async def ask() -> None:
        client = Client(world.settings.gateway.port)
        try:
            while not over:
                statuses.append((loop.time(), (await client.get("/web/x")).status))
                await asyncio.sleep(EVERY)
        finally:
            client.close()

    upstream.failing = True
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(ask())
        await world.until(lambda: any(status == 503 for _, status in statuses))
        opened = next(at for at, status in statuses if status == 503)
        # the first failures wake the counting, and what was on its way when it opened comes through
        assert LEAST < upstream.requests <= LEAST + 2 * CLIENTS
        seen = upstream.requests
        await world.until(lambda: loop.time() > opened + 2 * OPEN + 0.5 and upstream.requests >= seen + 2)
        # probes of the terms that ended since, and one more for each thread of HAProxy
        terms = (loop.time() - opened) // OPEN + 1
        assert upstream.requests - seen <= terms * (PROBES + 2)
        upstream.failing = False
        # all probes must succeed: asked on for longer than they take
        await world.until(lambda: sum(status == 200 for _, status in statuses) > PROBES + CLIENTS)
        over = True
    rejected = sum(status == 503 for _, status in statuses)
    await world.until(lambda: bool(world.driver.changes) and world.driver.changes[-1].state == "closed")
    told = [change.state for change in world.driver.changes]
    assert (told[0], told[-1], told.count(BreakerState.CLOSED)) == (BreakerState.OPEN, BreakerState.CLOSED, 1)
    assert all(before is not after for before, after in itertools.pairwise(told))
    # a node that looks late tells of several openings at once
    openings = [change.opened for change in world.driver.changes if change.state is BreakerState.OPEN]
    assert openings == sorted(set(openings))
    assert openings[-1] == world.driver.breakers()[0].opened >= 2
    assert world.driver.breakers()[0].rejected == rejected > 20
    assert world.driver.report().reloads == 0
