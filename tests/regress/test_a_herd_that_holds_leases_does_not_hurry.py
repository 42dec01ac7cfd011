"""A8, 500 clients: retries of instances that held a lease came at 2.8 times the usual rate when the control plane was back."""

from __future__ import annotations

import random
from collections import Counter

from atoll.errors import Unreachable
from atoll.kit.tasks import owned
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.sdk.membership import Member
from atoll.testing import FakeClock
from tests.unit.sdk.registry import Registry

CLIENTS = 300
PERIOD = 5.0


async def test_the_rate_after_an_outage_is_under_twice_the_usual_one() -> None:
    clock, registry = FakeClock(), Registry()
    registry.clock = clock.now
    said = Registration(port=9000, ttl=3 * PERIOD)
    async with owned("herd") as tasks:
        for number in range(CLIENTS):
            name = InstanceId(f"i-{number}")
            one = Member(ServiceName("herd"), name, said, registry, clock, rng=random.Random(number))
            tasks.start(name, one.keep())
            await clock.advance(PERIOD / CLIENTS)
        await clock.advance(4 * PERIOD)
        registry.refuses = Unreachable("restarting")
        await clock.advance(1.2 * PERIOD)
        registry.refuses = None
        back = clock.now()
        await clock.advance(3 * PERIOD)
    seconds = Counter(int(time - back) for time in registry.times if time >= back)
    assert max(seconds.values()) <= 2 * CLIENTS / PERIOD
