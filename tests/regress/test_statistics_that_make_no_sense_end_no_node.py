"""The gateway's watcher met a text that was no number, or statistics without a column, and took the node along."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.gateway_edge.front import in_front
from tests.contract.gateway_edge.world import a_world

NONSENSE = {
    "a column is missing": ("show stat", "# pxname,svname,\n\n"),
    "a breaker counts words": ("show table edge:breakers", "0x1: key=orders gpt0=soon gpc0=many\n\n"),
    "a limit counts words": ("show table edge:concurrency", "0x1: key=orders conn_cur=few gpc0=0\n\n"),
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_what_haproxy_runs_goes_on_without_them(what: str) -> None:
    question, nonsense = NONSENSE[what]
    asked = asyncio.Event()

    def answer(line: str) -> str | None:
        if not line.startswith(question):
            return None
        asked.set()
        return nonsense

    async with a_world() as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders")
        world.instance("orders", "one", one.port)
        world.route("orders", "/orders", "orders")
        await world.push()
        async with in_front(world.driver.files.runtime, answer):
            await asyncio.wait_for(asked.wait(), 20)
            world.route("more", "/more", "orders")
            await world.push()
        assert (await world.get("/more")).body == "one"
        await world.driver.stop(0)
