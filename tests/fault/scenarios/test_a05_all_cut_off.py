"""A5: every instance is cut off from the control plane at once, and only from it. It doubts itself, not them.

The node, which renews for its children, is paused; self-registered instances reach the API through a proxy that swallows
everything. HAProxy reaches them all as before.
"""

from __future__ import annotations

import asyncio

from atoll.testing.fault_proxy import FaultProxy
from atoll.testing.promises import judge, lease_floor
from tests.fault.drivers.driver_register import Registrant, driver_register
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.drivers.upstream import upstreams
from tests.fault.faults.process import paused
from tests.fault.platform import Fleet, comes
from tests.fault.scenario import Scenario

TTL = 3.0


async def test_nobody_expires_when_everybody_is_cut_off_from_the_control_plane(
    scenario: Scenario, fleet: Fleet
) -> None:
    requests, registrations = scenario.history("requests"), scenario.history("registrations")
    platform, stop = fleet.platform, asyncio.Event()
    names = [f"own-{number}" for number in range(8)]

    async def everybody() -> bool:
        return len(await listed(fleet)) == 12

    async def held() -> bool:
        return bool((await status(fleet)).get("holds")) and set((await listed(fleet)).values()) == {"suspect"}

    async def well() -> bool:
        return set((await listed(fleet)).values()) == {"passing"}

    async with upstreams(*names) as made, FaultProxy(("127.0.0.1", platform.api_port)) as proxy:
        registrants = [Registrant("own", one.name, one.port, ttl=TTL) for one in made]
        address = ("127.0.0.1", proxy.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(
                driver_register(
                    registrations,
                    address,
                    platform.token,
                    registrants,
                    rng=scenario.rng,
                    seconds=600,
                    stop=stop,
                    leave=True,
                )
            )
            await comes(everybody, "twelve registrations")
            await fleet.route("own", "/own", "own")
            await fleet.converged()
            node = fleet.parts().node
            assert node is not None
            reloads, expired = platform.gateway()["reloads"], (await status(fleet))["expired"]
            async with fleet.load(requests), fleet.load(requests, "/own"):
                with paused(node):
                    proxy.black_hole()
                    await comes(held, "everybody is suspect, and held")  # their leases are over
                    await asyncio.sleep(scenario.seconds(0.3, 9 * TTL))
                    cut = await status(fleet)
                    during = await listed(fleet)
                    proxy.heal()
                healed = await comes(well, "everybody passes")
                await fleet.converged()
            stop.set()
        after = await status(fleet)
    await fleet.forget("own")
    scenario.measured(
        kept=f"{len(during)} of 12",
        holds=cut.get("holds"),
        healed_ms=round(1000 * healed),
        requests=len(requests.calls),
        failed=len(no_request_failed(requests.calls)),
    )
    judge(no_request_failed(requests.calls), lease_floor(registrations.calls, []))
    assert len(during) == 12, during
    assert set(during.values()) == {"suspect"}, during
    assert cut.get("holds"), f"no hold is told of: {cut}"
    assert after["expired"] == expired
    scenario.in_time(healed, 2 * TTL / 3 + 1.5, "to be healed: two intervals")
    assert platform.gateway()["reloads"] == reloads, platform.gateway()["last_reload"]


async def status(fleet: Fleet) -> dict[str, object]:
    return dict(await fleet.do(fleet.platform.done, "GET", "/status"))


async def listed(fleet: Fleet) -> dict[str, str]:
    """Every instance that is registered, with its state."""
    facts = await fleet.do(fleet.platform.done, "GET", "/facts?prefix=instances/")
    return {one["key"]: one["value"].get("state", "passing") for one in facts["facts"]}
