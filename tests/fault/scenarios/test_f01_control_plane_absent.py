"""F1: the app starts before the control plane does, or while that is silent: it serves at once and registers later."""

from __future__ import annotations

import asyncio

from atoll import attach
from atoll.kit.clock import SystemClock
from atoll.sdk.attach import Message, Receive, Scope, Send
from atoll.settings import load
from atoll.testing import FaultProxy
from atoll.testing.promises import Breach
from tests.fault.checks.schedule import eventually
from tests.fault.control_plane import control_plane
from tests.fault.joined_apps import joined_app
from tests.fault.scenario import Scenario

TTL = 6.0
"""Seconds; so an interval is two."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Its own start takes no time."""
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


async def started_in(url: str, token: str) -> float:
    """Seconds from the server's word to start until the app has started."""
    clock, messages, said = SystemClock(), asyncio.Queue[Message](), asyncio.Event()

    async def say(message: Message) -> None:
        said.set()

    environ = {"ATOLL_URL": url, "ATOLL_TOKEN": token, "ATOLL_SERVICE": "web", "PORT": "9"}
    began = clock.now()
    living = asyncio.ensure_future(attach(app, environ=environ)({"type": "lifespan"}, messages.get, say))
    await messages.put({"type": "lifespan.startup"})
    await said.wait()
    took = clock.now() - began
    await messages.put({"type": "lifespan.shutdown"})
    await living
    return took


async def test_an_absent_or_silent_control_plane_delays_no_start(scenario: Scenario) -> None:
    async with FaultProxy(scenario.state() / "nobody.sock") as proxy:
        url, token = f"http://127.0.0.1:{proxy.port}", "t" * 43
        absent = [await started_in(url, token) for _ in range(5)]
        proxy.black_hole()
        silent = [await started_in(url, token) for _ in range(5)]
    scenario.measured(absent_ms=round(1000 * min(absent), 1), silent_ms=round(1000 * min(silent), 1))
    # the best of five: what it costs, not what the machine was doing
    scenario.in_time(max(min(absent), min(silent)), 0.1)
    assert max(min(absent), min(silent)) <= TTL / 3, "it waited for an interval"


async def test_a_service_that_starts_before_the_control_plane_serves_and_registers_once_that_is_there(
    scenario: Scenario,
) -> None:
    clock, waits = SystemClock(), list[float]()
    for turn in range(scenario.times(1, 10)):
        state = scenario.state(f"state-{turn}")
        async with (
            FaultProxy(load(state, {}).socket) as proxy,
            joined_app(
                scenario,
                f"web-{turn}",
                f"http://127.0.0.1:{proxy.port}",
                token_file=state / "token",
                TTL=str(TTL),
            ) as running,
        ):
            await asyncio.sleep(scenario.rng.uniform(0.5, scenario.seconds(1.0, 3.0)))
            assert (await running.ask("/")).json()["instance"] == running.instance
            assert (await running.ask("/readyz")).status == 200, "who is not registered can still answer"
            assert not (state / "token").exists(), "there was no token to be had before"
            async with control_plane(state) as server:
                began = clock.now()

                async def registered(server=server, running=running) -> list[Breach]:  # type: ignore[no-untyped-def]  # noqa: ANN001
                    answer = await server.ask("GET", "/api/v1/services/web/instances")
                    found = [one["id"] for one in answer.json().get("instances", [])]
                    return [] if found == [running.instance] else [Breach("registered", str(found))]

                await eventually(registered, within=5 * TTL, every=0.05)
                waits.append(clock.now() - began)
                assert (await running.ask("/readyz")).json()["registration"] == "ok"
    scenario.measured(interval=TTL / 3, registered_after=[round(wait, 1) for wait in waits])
    scenario.in_time(min(waits), 2 * TTL / 3)
