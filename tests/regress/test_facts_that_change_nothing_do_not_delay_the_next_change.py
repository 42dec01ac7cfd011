"""A commit without news for the gateway was followed by the pause that gathers changes: the next instance waited."""

from __future__ import annotations

import asyncio

from tests.contract.gateway_edge.world import a_world, make_settings

PAUSE = 3600.0
"""Seconds that follow a real change."""


async def test_facts_that_change_nothing_do_not_delay_the_next_change() -> None:
    async with a_world() as world, world.driver.running():
        one = await world.upstream("one")
        await world.push()
        await asyncio.sleep(0.3)  # the pause that follows it is a short one
        world.driver.settings = make_settings(world.settings.state, world.settings, debounce=PAUSE)
        for _ in range(3):  # nothing but the revision differs
            await world.push()
        world.service("orders")
        world.route("orders", "/orders", "orders")
        key = world.instance("orders", "one", one.port)
        world.offer()
        await asyncio.wait_for(world.driver.routed(*key), 10)
        await world.driver.stop(0)
