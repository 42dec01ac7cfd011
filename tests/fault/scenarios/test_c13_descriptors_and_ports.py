"""C13 and port theft: too few descriptors pause accepting and nothing else; a stolen port is refused by the thief's name."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import ExitStack

import psutil
import pytest

from atoll.testing.promises import Breach
from tests.fault.checks.schedule import eventually
from tests.fault.control_plane import ControlPlane, NotStarted, control_plane
from tests.fault.drivers.driver_register import Registrant
from tests.fault.faults.limits import feed_descriptors, starve_descriptors
from tests.fault.faults.ports import stolen
from tests.fault.faults.process import descriptors
from tests.fault.scenario import Scenario


async def healthy(server: ControlPlane) -> list[Breach]:
    status = await server.status()
    return [] if status["pid"] == server.pid else [Breach("it answers", str(status))]


async def test_without_descriptors_it_stops_accepting_without_spinning_and_recovers(scenario: Scenario) -> None:
    history = scenario.history()
    registrant = Registrant("sim", "sim-1", 22_100, ttl=15.0)
    async with control_plane(scenario.state()) as server:
        with ExitStack() as stack, server.client() as client:  # a connection from before, as every registrant has one
            await registrant.renew(client, history)
            limit = descriptors(server.pid) + 10
            old = starve_descriptors(server.pid, limit)
            crowd = [await asyncio.open_unix_connection(str(server.place)) for _ in range(60)]
            for _, writer in crowd:
                stack.callback(writer.transport.abort)
            process = psutil.Process(server.pid)
            before, began = sum(process.cpu_times()[:2]), time.monotonic()
            await asyncio.sleep(scenario.seconds(0.6, 5))
            busy = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
            assert descriptors(server.pid) >= limit - 2, "it does not lack any: nothing is proved"
            await registrant.renew(client, history)
            assert history.calls[-1].error is None, "a connection that was there is cut off"
            feed_descriptors(server.pid, old)
            stack.close()
            await eventually(lambda: healthy(server))
            assert (await server.instances("sim")) == {"sim-1": "passing"}
    scenario.measured(busy=round(busy, 2))
    assert busy < 0.5, "it spins while it cannot accept"


async def test_a_stolen_port_is_named_with_its_thief_and_nothing_is_left_behind(scenario: Scenario) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with stolen(port), pytest.raises(NotStarted) as failure:
        async with control_plane(scenario.state(), environ={"ATOLL_API_PORT": str(port)}):
            pass
    assert failure.value.code == 1
    assert str(port) in failure.value.printed
    assert str(os.getpid()) in failure.value.printed, "the thief is not named"
    assert "Traceback" not in failure.value.printed
    async with control_plane(scenario.state(), environ={"ATOLL_API_PORT": str(port)}) as server:
        assert await healthy(server) == []
