"""`set map` changes neither a map's version nor its count, by which the node knew that somebody had been there."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.gateway_edge.world import a_world


async def test_a_value_changed_in_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.gateway.reconcile.QUIET", 0.05)
    async with a_world() as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders")
        world.instance("orders", "one", one.port)
        world.route("orders", "/orders", "orders")
        await world.push()
        await asyncio.sleep(0.5)  # it has been looked at after the change
        for key, _ in world.driver.config.maps["routes"]:
            assert await world.runtime.ask(f"set map routes.map {key} nowhere") == ""
        assert (await world.get("/orders/x")).status != 200
        await world.until(lambda: world.driver.report().healed > 0, 8)
        await world.until(lambda: not world.driver.differences)
        assert (await world.get("/orders/x")).body == "one"
        await world.driver.stop(0)
