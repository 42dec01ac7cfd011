"""C1, B2 over the API: kill -9 of the control plane at random moments under 20 writes/s, watchers and renewals."""

from __future__ import annotations

import asyncio
import random

from atoll.testing.history import acknowledged, read_history
from atoll.testing.promises import acked_is_durable, judge, refused_did_not_happen, revisions_grow
from atoll.testing.watched import sessions_of, watch_contract
from tests.fault.checks.schedule import until
from tests.fault.control_plane import control_plane
from tests.fault.drivers.driver_api_watch import deletions, driver_api_watch, service_log
from tests.fault.drivers.driver_api_writes import driver_api_writes
from tests.fault.drivers.driver_register import Registrant, driver_register
from tests.fault.scenario import Scenario

WATCHERS = 3


async def test_the_control_plane_is_killed_again_and_again_and_loses_nothing(scenario: Scenario) -> None:
    kills = scenario.times(2, 50)
    stop = asyncio.Event()
    writes, watches, renewals = scenario.history("writes"), scenario.history("watches"), scenario.history("renewals")
    async with control_plane(scenario.state()) as first:
        place, token = first.place, first.token
    registrants = [Registrant("sim", f"sim-{number}", 21_000 + number) for number in range(10)]

    results: dict[str, object] = {}
    async with asyncio.TaskGroup() as group:
        load = [
            group.create_task(
                driver_api_writes(
                    writes,
                    place,
                    token,
                    f"w{number}",
                    rng=random.Random(f"{scenario.seed}/{number}"),
                    rate=5,
                    calls=1 << 30,
                    seconds=600,
                )
            )
            for number in range(4)
        ]
        group.create_task(
            driver_register(renewals, place, token, registrants, rng=scenario.rng, seconds=600, stop=stop)
        )
        for number in range(WATCHERS):
            group.create_task(
                driver_api_watch(watches, place, token, f"watch{number}", prefix="services/", start=1, stop=stop)
            )
        group.create_task(driver_api_watch(watches, place, token, "instances", prefix="instances/", start=1, stop=stop))

        async def killing() -> None:
            for _ in range(kills):
                async with control_plane(scenario.state()) as server:
                    await asyncio.sleep(scenario.rng.uniform(0.05, 0.7))
                    server.kill()
            async with control_plane(scenario.state()) as server:
                before = len(acknowledged(writes.calls, "commit"))
                await until(lambda: len(acknowledged(writes.calls, "commit")) >= before + 5, "the writers write on")
                for writer in load:
                    writer.cancel()
                await asyncio.wait(load)  # what comes after the log was read would not be found in it
                await asyncio.sleep(0.2)  # the watchers catch up
                stop.set()
                results.update(await server.status(), log=await service_log(place, token))

        await killing()
    log = results["log"]
    assert isinstance(log, dict)
    calls = read_history(*sorted((scenario.folder / "histories").iterdir()))
    scenario.measured(kills=kills, acknowledged=len(acknowledged(calls, "commit")), expired=results["expired"])
    assert len(acknowledged(calls, "commit")) > kills
    services = [call for call in calls if call.call != "watch" or call.client != "instances"]
    judge(
        acked_is_durable(calls, log),
        refused_did_not_happen(calls, log),
        revisions_grow(calls),
        watch_contract(sessions_of(services), log),
    )
    assert {session.watcher for session in sessions_of(calls) if session.heard} >= {"instances", "watch0"}
    assert deletions(calls) == []
    assert results["expired"] == 0
