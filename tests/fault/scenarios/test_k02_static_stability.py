"""K2, K4: what serves goes on without what commands; and everything dead at once comes back, with all that was said.

Also the issue's own measure: the control plane dead for a minute, and paused for three TTLs, under load.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping
from typing import Any

import pytest

from atoll.kit.tasks import owned
from atoll.testing.history import Call, Outcome
from atoll.testing.promises import Breach, judge
from tests.fault.drivers.driver_api_writes import driver_api_writes
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.faults.process import kill, paused
from tests.fault.platform import Fleet, comes, own_fleet, signal_all
from tests.fault.scenario import Scenario
from tests.system.platform.stage import free_port, listens

RIGHT = 2.0
"""Seconds after the fault within which everything agrees again."""
REPORT = 1.0
"""Seconds that the news of it takes: the node reports once a second."""
BACK = 10.0
"""Seconds from `atoll up` until everything that was dead serves and agrees."""
TTL = 3.0


async def test_requests_go_on_while_node_and_control_plane_are_dead(scenario: Scenario, fleet: Fleet) -> None:
    history = scenario.history("requests")
    before = fleet.parts()
    async with fleet.load(history):
        signal_all({pid for pid in (before.node, before.control_plane) if pid is not None}, signal.SIGKILL)
        await asyncio.sleep(scenario.seconds(0.5, 15))  # for a minute: the next one
        alone = fleet.parts()
        await fleet.do(fleet.platform.up)
        right = await fleet.converged()
    after, status = fleet.parts(), await fleet.do(fleet.platform.done, "GET", "/status")
    scenario.measured(
        requests=len(history.calls),
        failed=len(no_request_failed(history.calls)),
        expired=status["expired"],
        right_after_s=round(right, 1),
    )
    assert (alone.node, alone.control_plane) == (None, None), "the fault did not bite"
    judge(no_request_failed(history.calls))
    assert status["expired"] == 0
    assert (after.master, after.workers, after.instances) == (before.master, before.workers, before.instances)
    scenario.in_time(right, RIGHT + REPORT)


@pytest.mark.slow
async def test_requests_go_on_while_nothing_but_the_data_plane_runs(scenario: Scenario) -> None:
    """K2 as it stands: node, control plane and telemetry are all dead."""
    pytest.importorskip("chdb", reason='needs pip install "atoll[telemetry]"')
    history = scenario.history("requests")
    http, grpc = free_port(), free_port()
    with own_fleet(
        ATOLL_TELEMETRY_ENABLED="1", ATOLL_TELEMETRY_HTTP_PORT=str(http), ATOLL_TELEMETRY_GRPC_PORT=str(grpc)
    ) as fleet:
        await comes(lambda: telemetry_of(fleet) is not None, "telemetry answers", within=30)
        first, before = telemetry_of(fleet), fleet.parts()
        assert first is not None
        async with fleet.load(history):
            signal_all({pid for pid in (before.node, before.control_plane, first) if pid is not None}, signal.SIGKILL)
            await asyncio.sleep(scenario.times(1, 60))
            alone, listening = fleet.parts(), listens(http)
            await fleet.do(fleet.platform.up)
            right = await fleet.converged()
        await comes(lambda: telemetry_of(fleet) not in {None, first}, "telemetry is back", within=30)
        after = fleet.parts()
    scenario.measured(
        requests=len(history.calls), failed=len(no_request_failed(history.calls)), right_after_s=round(right, 1)
    )
    assert (alone.node, alone.control_plane, listening) == (None, None, False), "the fault did not bite"
    judge(no_request_failed(history.calls))
    assert (after.master, after.workers, after.instances) == (before.master, before.workers, before.instances)


def telemetry_of(fleet: Fleet) -> int | None:
    """The process id of telemetry; None while it does not answer."""
    answer = fleet.platform.api("GET", "/telemetry/status")
    return int(answer.json["pid"]) if answer.status == 200 else None


async def test_requests_go_on_while_the_control_plane_is_kept_dead_and_then_paused(
    scenario: Scenario, fleet: Fleet
) -> None:
    history = scenario.history("requests")
    before = fleet.parts()
    async with fleet.load(history):
        deaths = await kept_dead(fleet, scenario.seconds(0.5, 60))
        dead_right = await fleet.converged()
        server = fleet.parts().control_plane
        assert server is not None
        with paused(server):
            await asyncio.sleep(scenario.seconds(1, 3 * TTL))
        paused_right = await fleet.converged()
    after, status = fleet.parts(), await fleet.do(fleet.platform.done, "GET", "/status")
    scenario.measured(
        deaths=deaths,
        requests=len(history.calls),
        failed=len(no_request_failed(history.calls)),
        expired=status["expired"],
        right_after_death_s=round(dead_right, 1),
        right_after_pause_s=round(paused_right, 1),
    )
    judge(no_request_failed(history.calls))
    assert status["expired"] == 0
    assert deaths > 1
    assert (after.node, after.master, after.instances) == (before.node, before.master, before.instances)
    scenario.in_time(paused_right, RIGHT + REPORT)
    scenario.in_time(dead_right, RIGHT + REPORT, "(the node waits at most 1 s before it starts it again)")


async def kept_dead(fleet: Fleet, seconds: float) -> int:
    """Kill the control plane as often as it is started again; how often that was."""
    began, deaths = time.monotonic(), 0
    while time.monotonic() - began < seconds or deaths < 2:
        server = fleet.parts().control_plane
        if server is not None:
            with contextlib.suppress(ProcessLookupError):
                kill(server)
                deaths += 1
        await asyncio.sleep(0.03)
    return deaths


async def test_everything_killed_at_once_comes_back_with_all_that_was_acknowledged(
    scenario: Scenario, fleet: Fleet
) -> None:
    history, took = scenario.history("writes"), list[float]()
    try:
        for number in range(scenario.times(1, 20)):
            async with owned("writing") as tasks:
                token = fleet.platform.token
                writing = tasks.start(
                    "writes",
                    driver_api_writes(
                        history, fleet.settings.socket, token, f"w{number}", rng=scenario.rng, rate=50, seconds=60
                    ),
                )
                await asyncio.sleep(0.3 + scenario.rng.random())
                await comes(lambda: len(acknowledged(history.calls)) > 5 * (number + 1), "there is something to lose")  # noqa: B023
                signal_all(fleet.parts().all, signal.SIGKILL)
                writing.cancel()
            began = time.monotonic()
            await fleet.do(fleet.platform.up)
            await fleet.serves()
            await fleet.converged()
            took.append(time.monotonic() - began)
        facts = await fleet.do(fleet.platform.done, "GET", "/facts?prefix=services/")
        found = {one["key"]: one["value"] for one in facts["facts"]}
    finally:
        await fleet.forget(*sorted({operation_of(call)["key"].removeprefix("services/") for call in history.calls}))
    scenario.measured(
        deaths=len(took),
        acknowledged=len(acknowledged(history.calls)),
        lost=len(lost(history.calls, found)),
        back_s=[round(each, 1) for each in sorted(took)],
    )
    judge(lost(history.calls, found))
    scenario.in_time(max(took), BACK)


def acknowledged(calls: list[Call]) -> list[Call]:
    """What was answered with yes."""
    return [call for call in calls if call.outcome is Outcome.OK]


def operation_of(call: Call) -> Mapping[str, Any]:
    """The one that each write has."""
    (operation,) = call.arguments["operations"]
    return dict(operation)


def lost(calls: list[Call], found: Mapping[str, Any]) -> list[Breach]:
    """Of each service: what stands there must be the last acknowledged write, or a later one whose outcome is unknown."""
    may: dict[str, list[str]] = {}
    for call in sorted(calls, key=lambda call: call.start):
        key, value = operation_of(call)["key"], operation_of(call)["value"]
        if call.outcome is Outcome.OK:
            may[key] = [value]
        elif call.outcome is Outcome.UNKNOWN:
            may.setdefault(key, [""]).append(value)
    stands = {key: str(value.get("check", {}).get("path", "")) for key, value in found.items()}
    return [
        Breach("acked-is-durable", f"{key} is {stands.get(key, '')!r}, not one of {values}")
        for key, values in may.items()
        if stands.get(key, "") not in values
    ]
