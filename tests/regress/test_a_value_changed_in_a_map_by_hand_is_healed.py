"""`set map` changes neither a map's version nor its count, by which the node knew that somebody had been there."""

from __future__ import annotations

from dataclasses import replace

from tests.contract.gateway_edge.world import QUICK, a_world


async def test_a_value_changed_in_place_is_found() -> None:
    async with a_world() as world, world.driver.running():
        one = await world.upstream("one")
        world.service("orders")
        world.instance("orders", "one", one.port)
        world.route("orders", "/orders", "orders")
        await world.push()
        reconciler = world.driver._reconciler
        assert reconciler is not None
        await world.until(lambda: "routes.map" in reconciler._marks)  # it has been looked at after the change
        reconciler._rhythm = replace(QUICK, quiet=3600.0)
        async with world.driver._acting:  # a look that has begun is over, and no other one begins
            pass
        for key, _ in world.driver.config.maps["routes"]:
            assert await world.runtime.ask(f"set map routes.map {key} nowhere") == ""
        assert (await world.get("/orders/x")).status != 200
        reconciler._rhythm = QUICK
        world.offer()
        await world.until(lambda: world.driver.report().healed > 0, 20)
        await world.until(lambda: not world.driver.differences)
        assert (await world.get("/orders/x")).body == "one"
        await world.driver.stop(0)
