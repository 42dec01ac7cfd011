"""D10, D12: two hundred route changes in ten seconds; and more facts than HAProxy is allowed to hold."""

from __future__ import annotations

import asyncio
import time

import pytest

from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.drivers.http import Client
from tests.fault.drivers.pace import paced
from tests.fault.drivers.upstream import upstreams
from tests.fault.platform import Fleet, comes, own_fleet
from tests.fault.scenario import Scenario

LIVE = 5.0
"""Seconds after the last change within which every route must be live."""


async def test_a_storm_of_route_changes_is_gathered_into_few_reloads(scenario: Scenario, fleet: Fleet) -> None:
    history, count, seconds = scenario.history("requests"), scenario.times(40, 200), scenario.times(2, 10)
    before = fleet.platform.gateway()
    names = [f"storm-{number}" for number in range(count)]
    async with upstreams("tick") as (tick,), fleet.load(history, rate=50):
        await fleet.register("tick", "tick", tick.port)
        began = time.monotonic()
        async for number in paced(count / seconds, calls=count, seconds=600):
            # every other one matches by a header, of five different names: those need a reload
            match = {"headers": {f"x-{number // 2 % 5}": "yes"}} if number % 2 else {}
            await fleet.route(names[number], f"/storm/{number}", "tick", **match)
        ended = time.monotonic()
        stormed = ended - began
        with Client(fleet.place) as client:
            for number in range(count):
                while True:
                    answer = await client.ask("GET", f"/storm/{number}", headers={f"x-{at}": "yes" for at in range(5)})
                    if answer.headers.get("x-instance") == "tick":
                        break
                    assert time.monotonic() - ended < 20, f"route {number} is not live"
                    await asyncio.sleep(0.05)
        live = time.monotonic() - ended
        after = fleet.platform.gateway()
    await fleet.forget(*names, "tick")
    reloads = after["reloads"] - before["reloads"]
    scenario.measured(
        changes=count,
        reloads=reloads,
        generations=after["generation"] - before["generation"],
        live_after_s=round(live, 2),
        failed=len(no_request_failed(history.calls)),
    )
    judge(no_request_failed(history.calls))
    scenario.in_time(live, LIVE)
    assert reloads <= 2 + (stormed + live) / fleet.settings.gateway.reload_interval


@pytest.mark.slow
async def test_more_servers_than_haproxy_may_hold_are_refused_and_the_last_good_configuration_serves(
    scenario: Scenario,
) -> None:
    with own_fleet() as fleet:
        await fleet.converged()
        history = scenario.history("requests")
        await fleet.do(fleet.platform.done, "PUT", "/services/many", {"name": "many", "check": {"kind": "none"}})
        headers = {"Authorization": f"Bearer {fleet.platform.token}"}

        async def fill(begin: int, end: int) -> None:
            with Client(fleet.settings.socket, headers=headers) as client:
                for number in range(begin, end):
                    path = f"/api/v1/services/many/instances/m-{number}"
                    body = {"host": f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}", "port": 9}
                    answer = await client.ask("PUT", path, {**body, "ttl": 3600})
                    assert answer.status == 201, answer

        async def filled(total: int, begin: int = 0) -> None:
            share = (total - begin) // 10
            async with asyncio.TaskGroup() as group:
                for part in range(10):
                    group.create_task(fill(begin + part * share, begin + (part + 1) * share))

        async with fleet.load(history, rate=20):
            await filled(10_000)
            began = time.monotonic()
            while not await fleet.do(fleet.platform.settled):
                assert time.monotonic() - began < 60
                await asyncio.sleep(0.2)
            taken = time.monotonic() - began
            assert len(await fleet.rows()) >= 10_000
            generation = fleet.platform.gateway()["generation"]
            await filled(30_010, 10_000)
            said = await comes(lambda: fleet.do(refused, fleet), "the limit is named", within=60)
            for number in range(20):  # back under the limit
                await fleet.do(fleet.platform.done, "DELETE", f"/services/many/instances/m-{number}")
            began = time.monotonic()
            while not await fleet.do(fleet.platform.settled):
                assert time.monotonic() - began < 300, fleet.platform.gateway()
                await asyncio.sleep(0.2)
            healed = time.monotonic() - began
        scenario.measured(
            refused_after_s=round(said, 1),
            errors=fleet.platform.gateway()["errors"],
            taken_s=round(taken, 1),
            healed_s=round(healed, 1),
            generation=generation,
            failed=len(no_request_failed(history.calls)),
        )
        judge(no_request_failed(history.calls))


def refused(fleet: Fleet) -> bool:
    """Whether the gateway says which limit the facts have passed."""
    return "30000" in fleet.platform.gateway()["last_error"].replace(",", "")
