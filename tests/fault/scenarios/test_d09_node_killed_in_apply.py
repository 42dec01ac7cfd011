"""D9: the node is killed in mid-apply, after k of its commands have reached HAProxy. The next node brings the rest.

Every k of a driver alone stands in tests/contract/gateway_edge/test_converge.py; here it is `atoll up`, killed for real.
"""

from __future__ import annotations

import asyncio

import pytest

from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.drivers.upstream import upstreams
from tests.fault.faults.command_counter import strikes_after
from tests.fault.faults.process import kill
from tests.fault.platform import Fleet, own_fleet
from tests.fault.scenario import Scenario

RIGHT = 2.0
"""Seconds after the next node is up within which all is as it should be, plus one report of the node."""


@pytest.mark.slow
async def test_a_node_killed_between_two_commands_leaves_what_the_next_one_repairs(scenario: Scenario) -> None:
    with own_fleet() as fleet:
        await fleet.converged()
        history = scenario.history("requests")
        async with fleet.load(history, rate=50):
            took = [await one_death(fleet, changes) for changes in (range(8) if scenario.long else (2,))]
        scenario.measured(
            deaths=len(took),
            right_after_s=[round(each, 1) for each in took],
            requests=len(history.calls),
            failed=len(no_request_failed(history.calls)),
        )
        judge(no_request_failed(history.calls))
        assert max(took) <= RIGHT + 1.0


async def one_death(fleet: Fleet, changes: int) -> float:
    before, platform = fleet.parts(), fleet.platform
    assert before.node is not None
    names = [f"new-{number}" for number in range(5)]
    async with upstreams(*names) as made:
        async with strikes_after(fleet.runtime.path, changes, lambda: kill(before.node or 0)) as struck:
            for one in made:
                await fleet.register(f"{one.name}-s", one.name, one.port)
                await fleet.route(one.name, f"/{one.name}", f"{one.name}-s")
            async with asyncio.timeout(10):
                await struck.wait()
        await fleet.do(platform.up)
        took = await fleet.converged()
        after = fleet.parts()
        assert (after.master, after.instances) == (before.master, before.instances), "not adopted"
        for one in made:
            answer = await fleet.do(platform.get, f"/{one.name}")
            assert answer.headers["x-instance"] == one.name
        await fleet.forget(*names, *(f"{name}-s" for name in names))
        await fleet.converged()
    return took
