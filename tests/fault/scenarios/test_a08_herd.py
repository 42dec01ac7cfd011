"""A8: five hundred instances find their control plane gone, and then back: they do not come all at once.

They renew as an SDK does: every third of their TTL give or take a fifth, and after a failure with full jitter.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest

from atoll.kit.backoff import Backoff
from atoll.testing.history import Call, History, Outcome
from atoll.testing.promises import judge, lease_floor
from tests.fault.drivers.driver_register import Registrant
from tests.fault.drivers.http import Client
from tests.fault.faults.process import kill
from tests.fault.platform import Fleet, comes, own_fleet
from tests.fault.scenario import Scenario

BUCKET = 0.5
"""Seconds over which a rate is taken."""


@pytest.mark.slow
async def test_a_herd_of_clients_comes_back_spread_over_time(scenario: Scenario) -> None:
    # a fifth of the clients with a fifth of the TTL ask as often as all of them
    count, ttl = scenario.times(100, 500), float(scenario.times(3, 15))
    with own_fleet() as fleet:
        await fleet.converged()
        body = {"name": "herd", "check": {"kind": "none"}}
        await fleet.do(fleet.platform.done, "PUT", "/services/herd", body)
        await herd(scenario, fleet, count, ttl)


async def herd(scenario: Scenario, fleet: Fleet, count: int, ttl: float) -> None:
    history, stop = scenario.history("registrations"), asyncio.Event()
    token, period = fleet.platform.token, ttl / 3
    registrants = [
        Registrant("herd", f"herd-{n}", 9, ttl=ttl, host=f"127.9.{n // 200}.{1 + n % 200}") for n in range(count)
    ]
    async with asyncio.TaskGroup() as group:
        for one in registrants:
            group.create_task(live(one, fleet, token, history, random.Random(scenario.rng.random()), stop))
        await asyncio.sleep(period * 2.5)
        steady = rates(history.calls, time.monotonic() - period, time.monotonic())
        down = time.monotonic()
        while time.monotonic() - down < period * 1.2:  # all of them shall have noticed
            server = fleet.parts().control_plane
            if server is not None:
                kill(server)
            await asyncio.sleep(0.05)
        back = time.monotonic()
        await comes(lambda: len(heard(history.calls, back)) == count, "everybody is back")
        after = rates(history.calls, back, time.monotonic())
        passing = await fleet.do(fleet.platform.done, "GET", "/status")
        stop.set()
    answered = [call for call in history.calls if call.outcome is Outcome.OK]
    usual = count / period
    scenario.measured(
        clients=count,
        usual_per_s=round(usual),
        steady_peak_per_s=round(max(steady)),
        peak_per_s=round(max(after)),
        ratio=round(max(after) / usual, 2),
        p99_ms=round(1000 * sorted(call.end - call.start for call in answered)[int(0.99 * len(answered))]),
        expired=passing["expired"],
    )
    assert passing["expired"] == 0
    assert passing["instances"]["passing"] >= count
    assert any(call.outcome is not Outcome.OK for call in history.calls), "nobody noticed"
    assert max(after) <= 2.0 * max(usual, max(steady))
    judge(lease_floor(history.calls, []))


def heard(calls: list[Call], since: float) -> set[str]:
    """Who was answered."""
    return {call.client for call in calls if call.start > since and call.outcome is Outcome.OK}


async def live(
    one: Registrant, fleet: Fleet, token: str, history: History, rng: random.Random, stop: asyncio.Event
) -> None:
    backoff = Backoff(base=0.1, cap=5.0, rng=rng)
    await asyncio.sleep(rng.random() * one.ttl / 3)
    with Client(fleet.settings.socket, headers={"Authorization": f"Bearer {token}"}) as client:
        while not stop.is_set():
            wait = await one.renew(client, history)
            if history_says_ok(history, one):
                backoff.reset()
                wait *= rng.uniform(0.8, 1.2)
            else:
                wait = backoff.next()
            try:
                await asyncio.wait_for(stop.wait(), wait)
            except TimeoutError:
                continue


def history_says_ok(history: History, one: Registrant) -> bool:
    """How its last call ended."""
    name = f"{one.service}/{one.instance}"
    return next(call for call in reversed(history.calls) if call.client == name).outcome is Outcome.OK


def rates(calls: list[Call], begin: float, end: float) -> list[float]:
    """Calls a second that were begun, answered or not, by bucket."""
    counts = Counter(int((call.start - begin) / BUCKET) for call in calls if begin <= call.start < end)
    return [counts[at] / BUCKET for at in range(max(1, int((end - begin) / BUCKET)))]
