"""D14, D15: backends that fail every request, hang up on it, or swallow it. Retries stay few, and neighbours do not feel it."""

from __future__ import annotations

import asyncio
import time

import pytest

from atoll.gateway import budget
from atoll.testing.promises import judge
from tests.fault.drivers.driver_requests import no_request_failed
from tests.fault.drivers.upstream import Mood, upstreams
from tests.fault.platform import Fleet, percentile
from tests.fault.scenario import Scenario

AMPLIFIED = 1.2
"""Requests that reach the backends, of those offered, beside the retries that are always allowed."""
CONNECTIONS, RETRIES = 8, 3
"""Of the load, and of one request at most: where the machine is so busy that all connections wait at once, nobody has
counted a retry of any of them."""
NORMAL = 5.0
"""Seconds after the backends are well again until every request is answered."""


@pytest.mark.parametrize("mood", [pytest.param(Mood.FAIL, marks=pytest.mark.slow), Mood.HANG_UP])
async def test_a_storm_of_failures_is_not_amplified(scenario: Scenario, fleet: Fleet, mood: Mood) -> None:
    bad, good = scenario.history("bad"), scenario.history("good")
    async with upstreams("weak-1", "weak-2", "weak-3") as weak:
        for one in weak:
            await fleet.register("weak", one.name, one.port)
        await fleet.route("weak", "/weak", "weak")
        await fleet.converged()
        for one in weak:
            one.mood = mood
        async with fleet.load(bad, "/weak", rate=50, connections=CONNECTIONS):
            await asyncio.sleep(scenario.seconds(0.5, 20))
        reached = sum(one.requests for one in weak)
        for one in weak:
            one.mood = Mood.ANSWER
        healed = time.monotonic()
        async with fleet.load(good, "/weak", rate=50):
            await asyncio.sleep(scenario.seconds(0.5, NORMAL - 1))
        await fleet.forget("weak")
    amplification = reached / len(bad.calls)
    failed = [call.end for call in good.calls if call.error is not None]
    normal = max(failed, default=healed) - healed
    scenario.measured(
        offered=len(bad.calls), reached=reached, amplification=round(amplification, 2), normal_after_s=round(normal, 2)
    )
    assert len(no_request_failed(bad.calls)) == len(bad.calls), "the fault did not bite"
    assert reached <= AMPLIFIED * len(bad.calls) + budget.FLOOR + (0 if scenario.long else CONNECTIONS * RETRIES)
    assert amplification <= AMPLIFIED or not scenario.long
    scenario.in_time(normal, NORMAL)
    assert good.calls[-1].error is None


@pytest.mark.slow  # its short form is D15's black hole
async def test_a_backend_that_swallows_requests_slows_nobody_else(scenario: Scenario, fleet: Fleet) -> None:
    calm, storm, lost = scenario.history("calm"), scenario.history("storm"), scenario.history("lost")
    async with upstreams("hole", mood=Mood.SILENT) as (hole,):
        await fleet.register("hole", "hole", hole.port)
        body = {"name": "hole", "match": {"path": "/hole"}, "shares": [{"service": "hole"}], "policy": {"timeout": 1.0}}
        await fleet.do(fleet.platform.done, "PUT", "/routes/hole", body)
        await fleet.converged()
        async with fleet.load(calm):
            await asyncio.sleep(scenario.times(1, 5))
        async with fleet.load(storm), fleet.load(lost, "/hole", rate=400, connections=200):
            await asyncio.sleep(scenario.times(1, 10))
        await fleet.forget("hole")
    ratio = percentile(storm.calls, 0.99) / percentile(calm.calls, 0.99)
    codes = {(call.answer or {}).get("status") for call in lost.calls}
    scenario.measured(
        swallowed=len(lost.calls),
        connections_at_most=hole.most,
        p99_ratio=round(ratio, 2),
        p99_ms=round(1000 * percentile(storm.calls, 0.99), 1),
        statuses=sorted(map(str, codes)),
    )
    judge(no_request_failed(calm.calls), no_request_failed(storm.calls))
    assert {504, 503} & codes, "the fault did not bite"
    assert codes <= {504, 503}
    assert max(call.end - call.start for call in lost.calls) < 4, "the route's timeout does not hold"
    # where a quiet p99 is below a millisecond, the machine's own hiccups make any ratio
    assert ratio < 5 or percentile(storm.calls, 0.99) < 0.1, "neighbours felt it"
