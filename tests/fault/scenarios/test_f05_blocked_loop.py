"""F5: a handler blocks the event loop of its app for longer than its lease: lost, told once, back once, no flapping."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import Any

import pytest

from atoll.testing.promises import Breach
from tests.fault.checks.schedule import eventually
from tests.fault.control_plane import ControlPlane, control_plane
from tests.fault.drivers.http import Broken
from tests.fault.joined_apps import joined_app
from tests.fault.scenario import Scenario

pytestmark = pytest.mark.slow


async def records(server: ControlPlane, instance: str) -> list[dict[str, Any]]:
    answer = await server.ask("GET", "/api/v1/services/web/history")
    assert answer.status == 200, answer
    return [one for one in answer.json()["records"] if one.get("instance") == instance]


@pytest.mark.timeout(120)
async def test_an_app_that_blocks_its_loop_for_longer_than_its_lease_comes_back_once(scenario: Scenario) -> None:
    ttl = scenario.times(2, 15)
    block = scenario.times(6, 20)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(control_plane(scenario.state(), by_tcp=True))
        assert isinstance(server.place, tuple)
        url = f"http://127.0.0.1:{server.place[1]}"
        apps = [
            await stack.enter_async_context(joined_app(scenario, name, url, token=server.token, TTL=str(ttl)))
            for name in ("web-1", "web-2", "web-3")
        ]

        async def all_passing() -> list[Breach]:
            found = await server.instances("web")
            right = len(found) == 3 and set(found.values()) == {"passing"}
            return [] if right else [Breach("passing", str(found))]

        await eventually(all_passing)
        before = len(await records(server, "web-1"))
        with contextlib.suppress(Broken):
            await apps[0].ask(f"/block?s={block}", timeout=block + 10.0)
        await eventually(all_passing)
        await asyncio.sleep(1.2 * ttl)  # what would flap, flaps now
        await eventually(all_passing)
        told = [one["verb"] for one in (await records(server, "web-1"))[before:]]
        loop = (await apps[0].ask("/readyz")).json()["loop"]
        warnings = apps[0].printed().count("the event loop is blocked")
        lost = apps[0].printed().count("the registry did not take us")
        others = [app.printed().count("the registry did not take us") for app in apps[1:]]
    scenario.measured(ttl=ttl, block=block, told=told, warnings=warnings, lag_most=loop["lag_most"])
    assert "suspect" in told, "the block was not felt: nothing is proved"
    assert len(told) <= 4, f"it flaps: {told}"
    assert told[-1] in {"registered", "passing", "renewed"}
    assert (warnings, loop["blocked"]) == (1, 1)
    assert lost <= 1
    assert loop["lag_most"] >= block - 1
    assert others == [0, 0]
