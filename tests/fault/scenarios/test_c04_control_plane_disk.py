"""C3, C4 over the API: a full disk answers 507 to writes and goes on with the rest; a failing one ends the process."""

from __future__ import annotations

import asyncio

import pytest

from atoll.testing.history import acknowledged
from atoll.testing.promises import acked_is_durable, judge, refused_did_not_happen, revisions_grow
from tests.fault.control_plane import control_plane
from tests.fault.drivers.driver_api_watch import service_log
from tests.fault.drivers.driver_api_writes import driver_api_writes
from tests.fault.drivers.driver_register import Registrant
from tests.fault.faults.full_disk import Ballast, small_disk
from tests.fault.faults.strace import SYNCS, failing
from tests.fault.scenario import Scenario


async def test_on_a_full_disk_writes_are_507_while_reads_and_renewals_go_on(scenario: Scenario) -> None:
    disk, history, renewals = scenario.state("disk"), scenario.history(), scenario.history("renewals")
    registrant = Registrant("sim", "sim-1", 22_000, ttl=15.0)
    async with control_plane(disk, before=small_disk(disk, 8), by_tcp=True) as server:

        async def write(calls: int) -> int:
            return await driver_api_writes(
                history, server.place, server.token, "w", rng=scenario.rng, rate=500, calls=calls
            )

        with server.client() as client:
            await registrant.renew(client, renewals)
            assert await write(20) == 20
            for _ in range(scenario.times(2, 10)):
                ballast = Ballast(server.pid, disk)
                ballast.fill()
                while history.calls[-1].error != "storage-full":
                    await write(10)
                for _ in range(5):
                    assert await write(3) == 0
                    await registrant.renew(client, renewals)
                    assert (await client.ask("GET", "/api/v1/services")).status == 200
                    assert (await client.ask("GET", "/livez")).status == 200
                ballast.drop()
                assert await write(5) == 5
        assert {call.error for call in renewals.calls} == {None}
        assert {call.error for call in history.calls} == {None, "storage-full"}
        log = await service_log(server.place, server.token)
    scenario.measured(acknowledged=len(acknowledged(history.calls)), refused=len(history.calls))
    judge(
        acked_is_durable(history.calls, log),
        refused_did_not_happen(history.calls, log),
        revisions_grow(history.calls),
    )


@pytest.mark.parametrize("n", [7, pytest.param(19, marks=pytest.mark.slow)])
async def test_a_failed_sync_ends_the_control_plane_and_a_restart_has_everything(scenario: Scenario, n: int) -> None:
    history = scenario.history()
    async with control_plane(scenario.state()) as server:  # so that the fault meets writes, not the first start
        assert (await server.status())["health"] == "ok"
    words = failing(SYNCS, "EIO", first=n, log=scenario.folder / "trace")
    async with control_plane(scenario.state(), before=words) as server:
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                writer = driver_api_writes(
                    history, server.place, server.token, f"w{number}", rng=scenario.rng, rate=100, calls=60
                )
                group.create_task(writer)
        code = await asyncio.wait_for(server.process.wait(), 20)
        printed = server.output.read_text()
    assert code not in {0, None}
    assert "storage" in printed
    assert "Traceback" not in printed
    failed = min(call.end for call in history.calls if call.error is not None)
    late = [call for call in acknowledged(history.calls) if call.start > failed]
    assert late == [], "acknowledged after the disk had failed"
    async with control_plane(scenario.state()) as server:
        log = await service_log(server.place, server.token)
    scenario.measured(acknowledged=len(acknowledged(history.calls)), exit_code=code)
    judge(acked_is_durable(history.calls, log), refused_did_not_happen(history.calls, log))
    assert acknowledged(history.calls)


async def test_the_registration_of_a_new_instance_on_a_full_disk_is_refused_and_taken_when_it_heals(
    scenario: Scenario,
) -> None:
    disk, history = scenario.state("disk"), scenario.history()
    async with control_plane(disk, before=small_disk(disk, 8), by_tcp=True) as server:
        ballast = Ballast(server.pid, disk)
        ballast.fill()
        registrants = [Registrant("sim", f"sim-{number}", 22_000 + number) for number in range(40)]
        with server.client() as client:
            for registrant in registrants:
                await registrant.renew(client, history)
            assert history.calls[-1].error == "storage-full"
            taken = await server.instances("sim") if any(call.revision for call in history.calls) else {}
            assert len(taken) == sum(call.error is None for call in history.calls)
            ballast.drop()
            for registrant in registrants:
                await registrant.renew(client, history)
        assert len(await server.instances("sim")) == 40
