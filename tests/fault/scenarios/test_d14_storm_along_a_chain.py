"""D14, F7: gateway → a → b → c → d, all with retries of their own, and one of them fails: nobody is asked much more often
than the gateway is, at any distance from it, nothing is sent on after its deadline, and all is well soon after.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from atoll.gateway import budget
from atoll.model.policy import Policy
from atoll.model.retry import Retry
from atoll.testing.history import Call, Outcome
from tests.fault.drivers.chain import LINKS, chain
from tests.fault.drivers.driver_requests import by_header, driver_requests
from tests.fault.drivers.upstream import Mood
from tests.fault.scenario import Scenario

AMPLIFIED = 1.2
NORMAL = 5.0
"""Seconds after the fault until every request is answered."""
PATIENCE = 15.0
"""Seconds that a busy machine gets until all is well; a bound against hanging."""
CALLERS = 16
WAIT = 2.0
"""Seconds that one waits at most for a chain whose end is silent: each of them keeps a caller."""
RETRIES = 3
"""Of one request at most."""
SPARE = budget.FLOOR + 2 * RETRIES
"""Requests that reach a link beside that: the retries that are always allowed, and those before anybody counts. The short
form adds those that the requests of the seconds before it allow; where the machine is so busy that all callers wait at once,
nobody has counted a retry of any of them."""
FEW = 4
"""Callers whose retries all together are less than what is always allowed: after a machine stood still all of them come at
once, and more would be told that there is no budget for so many."""
ON_THEIR_WAY = 2
"""Requests that an instance has when it dies; a busy machine shall not make them more than any budget allows."""
EVERYTHING = Retry(attempts=3, on=("unavailable", "closed", "timeout", "500", "502", "503", "504"))
POLICIES = {
    "defaults": Policy(),
    "retries at every hop": Policy(timeout=1.6, try_timeout=0.4, retry=EVERYTHING),
}


@pytest.mark.parametrize(
    ("words", "mood"),
    [
        ("defaults", Mood.HANG_UP),
        pytest.param("defaults", Mood.FAIL, marks=pytest.mark.slow),
        pytest.param("retries at every hop", Mood.FAIL, marks=pytest.mark.slow),
        pytest.param("retries at every hop", Mood.HANG_UP, marks=pytest.mark.slow),
        ("retries at every hop", Mood.SILENT),
    ],
)
async def test_a_storm_is_no_larger_at_the_end_of_a_chain(scenario: Scenario, words: str, mood: Mood) -> None:
    rate = scenario.seconds(200.0, 100.0)
    links = LINKS if scenario.long else LINKS[-1:] if mood is Mood.SILENT else (LINKS[0], LINKS[-1])
    offered, reached, late, normal, spare = {}, {}, {}, {}, {}
    async with chain(scenario.folder, POLICIES[words]) as built:

        async def load(name: str, seconds: float, many: int = CALLERS) -> list[Call]:
            history = scenario.history(name)
            await driver_requests(
                history, built.place, identify=by_header(), rate=rate, seconds=seconds, connections=many
            )
            return list(history.calls)

        began, before = time.monotonic(), set[Outcome]()
        while before != {Outcome.OK}:  # on a busy machine the first ones may take longer than the policy lets them
            assert time.monotonic() - began < PATIENCE, before
            before = {call.outcome for call in await load("before", 0.1)}
        for name in links:
            hops = LINKS.index(name) + 1
            for link in built.links.values():
                link.all += link.requests
                link.requests = link.late = 0
            earlier = built.links[name].all / budget.SHARE
            under_way = 0 if mood is Mood.SILENT else CALLERS * RETRIES  # those of the silent are counted beforehand
            spare[hops] = 0.0 if scenario.long else SPARE + earlier + under_way
            built.links[name].mood = mood
            # half a minute with what everybody has, at the end of the chain; elsewhere the window of a budget
            seconds = scenario.seconds(0.5, 30.0 if words == "defaults" and name == LINKS[-1] else 10.0)
            calls = await load(
                f"bad-{hops}", seconds, round(rate * min(WAIT, seconds)) if mood is Mood.SILENT else CALLERS
            )
            assert Outcome.OK not in {call.outcome for call in calls}, "the fault did not bite"
            offered[hops] = len(calls)
            reached[hops] = built.links[name].requests
            built.links[name].mood = Mood.ANSWER
            healed = time.monotonic()
            well = await load(f"well-{hops}", scenario.seconds(0.2, 2.0))
            while well[-1].outcome is not Outcome.OK:
                assert time.monotonic() - healed < PATIENCE
                well = await load(f"well-{hops}", 0.2)
            failed = [call.end for call in well if call.outcome is not Outcome.OK]
            normal[hops] = max(failed, default=healed) - healed
            late[hops] = sum(link.late for link in built.links.values())
    ratios = {hops: round(reached[hops] / offered[hops], 2) for hops in offered}
    scenario.measured(
        offered=offered,
        reached=reached,
        amplification=ratios,
        late=late,
        normal_after_s={hops: round(took, 2) for hops, took in normal.items()},
    )
    for hops in offered:
        assert reached[hops] <= AMPLIFIED * offered[hops] + spare[hops], ratios
        scenario.in_time(normal[hops], NORMAL)
    # HAProxy that gets no turn at the right moment sends on what had time when it looked
    scenario.in_time(max(late.values()), 0, "requests that were sent on after their deadline")


@pytest.mark.parametrize("words", POLICIES)
async def test_an_inner_instance_that_dies_costs_nobody_an_answer(scenario: Scenario, words: str) -> None:
    policy = POLICIES[words]
    if policy.timeout is not None and not scenario.long:  # who dies hangs up: nothing has to be waited for
        policy = msgspec.structs.replace(policy, timeout=20.0, try_timeout=5.0)
    async with chain(scenario.folder, policy) as built:
        history = scenario.history()
        stop = asyncio.Event()

        async def load() -> None:
            await driver_requests(
                history, built.place, identify=by_header(), rate=100, seconds=60, connections=FEW, stop=stop
            )

        async with asyncio.TaskGroup() as group:
            group.create_task(load())
            for name in ("c", "d", "b"):
                await asyncio.sleep(scenario.seconds(0.1, 2.5))
                dying, port = built.links[name].dying, built.ports[name][0]
                dying[port] = ON_THEIR_WAY  # then nobody listens, or it is back
                while dying[port]:  # noqa: ASYNC110  the load meets it
                    await asyncio.sleep(0.01)
            await asyncio.sleep(scenario.seconds(0.1, 2.5))
            stop.set()
    failed = [call for call in history.calls if call.outcome is not Outcome.OK]
    scenario.measured(requests=len(history.calls), failed=len(failed))
    assert not failed
