"""F2: the control plane is gone; whoever looks up a service goes on with what it knows, for as long as it allows."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

import atoll
from atoll.errors import AtollError, Stale
from atoll.kit.clock import SystemClock
from atoll.testing import FaultProxy
from atoll.testing.promises import Breach, judge
from tests.fault.checks.schedule import eventually
from tests.fault.control_plane import control_plane
from tests.fault.drivers.driver_requests import no_request_failed, one
from tests.fault.drivers.http import Client
from tests.fault.joined_apps import joined_app, who
from tests.fault.scenario import Scenario

MARKS = 5.0
"""Seconds between two progress marks of a watch: its age is right to that."""


async def test_calls_go_on_without_a_control_plane_and_the_age_of_the_list_is_right(scenario: Scenario) -> None:
    clock, history, state = SystemClock(), scenario.history(), scenario.state()
    gone = scenario.seconds(2, 30)
    async with control_plane(state) as server, FaultProxy(server.place) as proxy:
        url, token = f"http://127.0.0.1:{proxy.port}", server.token
        environ = {"ATOLL_URL": url, "ATOLL_TOKEN": token}
        async with (
            joined_app(scenario, "web-1", url, token=token),
            atoll.endpoints("web", environ=environ) as found,
            atoll.endpoints("web", max_stale=gone / 2, environ=environ) as strict,
        ):

            async def there(count: int = 1) -> list[Breach]:
                try:
                    right = len(await found.ready()) == len(await strict.ready()) == count and found.connected
                except AtollError as error:
                    return [Breach("F2", error.detail)]
                return [] if right else [Breach("F2", f"not current: {found.trouble}")]

            async def call() -> None:
                (instance,) = found.all()
                with Client((instance.host, instance.port)) as client:
                    await one(history, client, "caller", "GET", "/", who)

            await eventually(there, within=20)
            server.kill()
            await server.process.wait()
            killed, refused = clock.now(), 0
            while (elapsed := clock.now() - killed) < gone:
                await call()
                age, now = found.age, clock.now() - killed
                assert elapsed - 0.5 <= age <= now + MARKS + 0.5, "the age is not right"
                if strict.age > gone / 2:
                    with pytest.raises(Stale):
                        strict.all()
                    refused += 1
                await asyncio.sleep(0.05)
            assert not found.connected
            assert found.trouble is not None
            async with control_plane(state) as again:
                said = {"port": 9, "ttl": 3600}  # what is new is heard of at once, that nothing is only now and then
                answer = await again.ask("PUT", "/api/v1/services/web/instances/web-2", said)
                assert answer.status == 201, answer
                await eventually(partial(there, 2), within=20)
            scenario.measured(gone=gone, calls=len(history.calls), refused_as_stale=refused, failures=found.failures)
            assert refused > 0
    judge(no_request_failed(history.calls))
