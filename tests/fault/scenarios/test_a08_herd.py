"""A8: five hundred instances find their control plane gone, and then back: they do not come all at once.

Each is the SDK's own membership with a connection of its own; only its calls are made here, so that they are recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter

import msgspec
import pytest

from atoll.errors import LeaseExpired, Unreachable
from atoll.kit.clock import SystemClock
from atoll.kit.tasks import owned
from atoll.model.answers import Registered, Written
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.sdk.membership import Member
from atoll.testing.history import Call, History, Outcome
from atoll.testing.promises import judge, lease_floor
from tests.fault.drivers.driver_register import code_of
from tests.fault.drivers.http import Broken, Client
from tests.fault.faults.process import kill
from tests.fault.platform import Fleet, comes, own_fleet, percentile
from tests.fault.scenario import Scenario

BUCKET = 1.0
"""Seconds over which a rate is taken."""
SERVICE = ServiceName("herd")


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
    history, period = scenario.history("registrations"), ttl / 3
    usual = count / period
    headers = {"Authorization": f"Bearer {fleet.platform.token}"}
    async with contextlib.AsyncExitStack() as stack:
        clients = stack.enter_context(contextlib.ExitStack())
        tasks = await stack.enter_async_context(owned("herd"))
        for number in range(count):
            name = InstanceId(f"herd-{number}")
            said = Registration(host=f"127.9.{number // 200}.{1 + number % 200}", port=9, ttl=ttl)
            rng = random.Random(scenario.rng.random())
            client = clients.enter_context(Client(fleet.settings.socket, headers=headers))
            member = Member(SERVICE, name, said, Recorded(client, history), SystemClock(), rng=rng)
            tasks.start(name, member.keep())
            await asyncio.sleep(period / count)
        await asyncio.sleep(2 * period)
        steady = rates(history.calls, time.monotonic() - period, time.monotonic())
        down = time.monotonic()
        while time.monotonic() - down < period * 1.2:  # all of them shall have noticed
            server = fleet.parts().control_plane
            if server is not None:
                kill(server)
            await asyncio.sleep(0.05)
        back = time.monotonic()
        await comes(lambda: len(heard(history.calls, back)) == count, "everybody is back")
        first = min(call.start for call in history.calls if call.start > back and call.outcome is Outcome.OK)
        await asyncio.sleep(period)
        after = rates(history.calls, first, time.monotonic())
        status = await fleet.do(fleet.platform.done, "GET", "/status")
    answered = [call for call in history.calls if call.outcome is Outcome.OK]
    before, since = [c for c in answered if c.end < down], [c for c in answered if c.start > back]
    scenario.measured(
        clients=count,
        usual_per_s=round(usual),
        steady_peak_per_s=round(max(steady)),
        peak_per_s=round(max(after)),
        ratio=round(max(after) / usual, 2),
        p99_before_ms=round(1000 * percentile(before, 0.99), 1),
        p99_after_ms=round(1000 * percentile(since, 0.99), 1),
        expired=status["expired"],
    )
    assert status["expired"] == 0
    assert status["instances"]["passing"] >= count
    assert any(call.outcome is not Outcome.OK for call in history.calls), "nobody noticed"
    assert max(after) <= 2.0 * usual
    judge(lease_floor(history.calls, []))


class Recorded:
    """One client's way to the control plane: a connection of its own, every call in the history."""

    def __init__(self, client: Client, history: History) -> None:
        self._client = client
        self._history = history

    async def register(self, service: ServiceName, instance: InstanceId, said: Registration) -> Registered:
        """Register, or renew."""
        path, name = f"/api/v1/services/{service}/instances/{instance}", "renew" if said.lease else "register"
        with self._history.call(f"{service}/{instance}", name, ttl=said.ttl) as call:
            try:
                answer = await self._client.ask("PUT", path, said)
            except Broken as broken:
                call.lost(broken.how)
                raise Unreachable(broken.how) from broken
            if answer.status in {200, 201}:
                call.answered({"status": answer.status})
                return msgspec.json.decode(answer.body, type=Registered)
            call.refused(code_of(answer))
            raise LeaseExpired("told so") if answer.status == 410 else Unreachable(code_of(answer))

    async def deregister(self, service: ServiceName, instance: InstanceId, lease: str) -> Written:
        """Nobody leaves here."""
        raise NotImplementedError

    async def gateways_know(self, revision: int) -> bool:
        """Nobody asks here."""
        raise NotImplementedError


def heard(calls: list[Call], since: float) -> set[str]:
    """Who was answered."""
    return {call.client for call in calls if call.start > since and call.outcome is Outcome.OK}


def rates(calls: list[Call], begin: float, end: float) -> list[float]:
    """Calls a second that were begun, answered or not, in each whole second."""
    counts = Counter(int((call.start - begin) / BUCKET) for call in calls if begin <= call.start < end)
    return [counts[at] / BUCKET for at in range(max(1, int((end - begin) / BUCKET)))]
