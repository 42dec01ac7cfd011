"""The request log across reloads: who reads it knows what is missing."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from atoll.model.service import Balance, BalanceKind
from tests.contract.gateway.lines import Lines
from tests.contract.gateway_edge.world import Client, a_world

RELOADS = 2
LOST = 100
"""Lines of one reload, at most: the last ones of the old process, which does not wait for its reader (here: a thread
that shares its processor with those who ask)."""


async def test_a_reload_loses_a_few_lines_and_no_request() -> None:
    async with a_world(reload_interval=0.1, reload_after_start=0.0) as world:
        world.driver.settings.run.mkdir(parents=True, exist_ok=True)
        with Lines(world.driver.settings.requests_socket) as lines:
            async with world.driver.running():
                one = await world.upstream("one")
                world.service("orders")
                world.instance("orders", "one", one.port)
                world.route("orders", "/orders", "orders")
                await world.push()
                asked = [0]
                stop = asyncio.Event()

                async def ask() -> None:
                    client = Client(world.driver.settings.gateway.port)
                    while not stop.is_set():
                        assert (await client.get("/orders/x")).status == 200
                        asked[0] += 1
                        await asyncio.sleep(0.01)
                    client.close()

                async with asyncio.TaskGroup() as group:
                    for _ in range(4):
                        group.create_task(ask())
                    for number in range(RELOADS):
                        await asyncio.sleep(0.2)
                        balance = Balance(kind=BalanceKind.HASH, hash_on=f"header:x-{number}")
                        world.service("orders", balance=balance)
                        await world.push()
                    await asyncio.sleep(0.3)
                    stop.set()
                assert world.driver.report().reloads == RELOADS
                await world.until(lambda: asked[0] - len(lines.requests) <= LOST * RELOADS)
                await world.driver.stop(0)
        runs = defaultdict(list)
        for line in lines.requests:
            runs[line["Run"]].append(int(line["Line"]))
        assert len(runs) == RELOADS + 1
        for numbers in runs.values():
            # two threads may write the same number, and then one is left out; the sum is right
            assert abs(max(numbers) + 1 - len(numbers)) <= 1
        assert 0 <= asked[0] - len(lines.requests) <= LOST * RELOADS
