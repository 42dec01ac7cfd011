"""F4: instances that joined by themselves get SIGTERM one after the other under load, through a real gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from atoll.kit.clock import SystemClock
from atoll.testing.history import History
from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import answered_by, driver_requests, no_request_failed
from tests.fault.joined_apps import JoinedApp, comes, joined_app, who
from tests.fault.scenario import Scenario
from tests.system.platform.stage import Platform
from tests.system.platform.stage import closing as stopped

pytestmark = [pytest.mark.slow]
PROJECT = """
name: guests
services:
  other: {command: python service.py}
"""
ROUTE = {"name": "web", "match": {"path": "/web"}, "shares": [{"service": "web"}]}
INSTANCES = ("web-1", "web-2", "web-3")


def passing(made: Platform) -> dict[str, int]:
    listed = made.done("GET", "/services/web/instances")["instances"]
    return {one["id"]: one["port"] for one in listed if one["state"] == "passing"}


@asynccontextmanager
async def requests(history: History, made: Platform) -> AsyncIterator[None]:
    """100 GETs and 50 POSTs a second; each takes 20 ms, so that some are always under way."""
    stop, place = asyncio.Event(), ("127.0.0.1", made.gateway_port)
    async with asyncio.TaskGroup() as group:
        for method, rate in (("GET", 100.0), ("POST", 50.0)):
            group.create_task(
                driver_requests(
                    history, place, "/web?ms=20", identify=who, method=method, rate=rate, seconds=600, stop=stop
                )
            )
        try:
            await asyncio.sleep(0.5)
            yield
            await asyncio.sleep(0.5)
        finally:
            stop.set()


@pytest.mark.timeout(120)
async def test_a_rolling_sigterm_of_instances_that_joined_by_themselves_fails_no_request(scenario: Scenario) -> None:
    clock, rolls, took = SystemClock(), scenario.times(3, 20), list[float]()
    async with AsyncExitStack() as stack:
        made = stack.enter_context(stopped(Platform.of(PROJECT)))
        await asyncio.to_thread(made.up)
        url = f"http://127.0.0.1:{made.api_port}"

        async def start(instance: str) -> tuple[JoinedApp, AsyncExitStack]:
            own = await stack.enter_async_context(AsyncExitStack())
            app = await own.enter_async_context(joined_app(scenario, instance, url, token_file=made.state / "token"))
            await comes(lambda: passing(made).get(instance) == app.port and made.settled(), f"{instance} is routed")
            return app, own

        running = {instance: await start(instance) for instance in INSTANCES}
        await asyncio.to_thread(made.done, "PUT", "/routes/web", ROUTE)
        await comes(lambda: made.get("/web").instance in INSTANCES, "the route")
        history = scenario.history()
        async with requests(history, made):
            for roll in range(rolls):
                instance = INSTANCES[roll % len(INSTANCES)]
                app, own = running[instance]
                began = clock.now()
                await app.terminate()
                took.append(clock.now() - began)
                assert instance not in await asyncio.to_thread(passing, made), "it ended without a farewell"
                await own.aclose()
                running[instance] = await start(instance)
        scenario.measured(
            rolls=rolls,
            requests=len(history.calls),
            failed=len(no_request_failed(history.calls)),
            slowest_end=round(max(took), 1),
        )
        assert set(answered_by(history.calls)) == set(INSTANCES)
    judge(no_request_failed(history.calls))
