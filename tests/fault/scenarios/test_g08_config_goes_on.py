"""G8 beside the platform: telemetry's disk is full. Senders are told when to come back, config writes do not notice."""

from __future__ import annotations

import asyncio

import pytest

from atoll.kit.tasks import owned
from atoll.testing.history import Outcome
from tests.contract.telemetry.receive.process import telemetry
from tests.fault.control_plane import control_plane
from tests.fault.drivers.driver_api_writes import driver_api_writes
from tests.fault.drivers.driver_otlp import acknowledged, driver_otlp
from tests.fault.faults.full_disk import Ballast, small_disk
from tests.fault.platform import comes
from tests.fault.scenario import Scenario
from tests.unit.telemetry.receive import bodies

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]
MEGABYTES = 64
LISTED = 1000


async def test_config_writes_go_on_while_telemetry_has_no_room(scenario: Scenario) -> None:
    pytest.importorskip("chdb", reason='needs pip install "atoll[telemetry]"')
    writes, full, healthy = (scenario.history(name) for name in ("writes", "full", "healthy"))
    disk = scenario.state() / "telemetry"
    disk.mkdir(mode=0o700)
    with telemetry(scenario.folder, before=small_disk(disk, MEGABYTES)) as process:
        ballast = Ballast(process.pid, disk)
        async with control_plane(process.state) as server, owned("load") as tasks:
            driver = driver_api_writes(
                writes, server.place, server.token, "w", rng=scenario.rng, rate=50, calls=1 << 30, seconds=900
            )
            load = tasks.start("writes", driver)
            for _ in range(scenario.times(1, 10)):
                await driver_otlp(healthy, process, rng=scenario.rng, rate=20, spans=5, seconds=0.5)
                ballast.fill()
                await driver_otlp(full, process, rng=scenario.rng, rate=20, spans=5, seconds=2)

                async def refuses() -> bool:
                    """What it merges and drops makes a little room again: that is taken, until nothing is left."""
                    ballast.fill()
                    body = bodies.traces(bodies.span(scenario.rng)).SerializeToString()
                    answer = await asyncio.to_thread(process.send, "/v1/traces", body)
                    assert answer.status in {200, 503}, answer
                    return answer.status == 503 and int(answer.headers["retry-after"]) >= 1

                await comes(refuses, "senders are told that there is no room, and when to come back")
                assert (await asyncio.to_thread(process.ask, "/api/v1/traces?limit=5"))["traces"], "reads go on"
                ballast.drop()
                before = len(acknowledged(healthy.calls))

                async def heals(before: int = before) -> bool:
                    await driver_otlp(healthy, process, rng=scenario.rng, rate=8, seconds=0.2)
                    return len(acknowledged(healthy.calls)) > before

                healed = await comes(heals, "it takes exports again")
            load.cancel()
        said = acknowledged([*healthy.calls, *full.calls])
        listed = (await asyncio.to_thread(process.ask, f"/api/v1/traces?limit={LISTED}"))["traces"]
    refused = [call for call in full.calls if call.outcome is Outcome.REFUSED]
    lost = said - {str(trace["id"]) for trace in listed}
    failed = [call for call in writes.calls[:-1] if call.outcome is not Outcome.OK]  # the last one was cut off by us
    scenario.measured(
        writes=len(writes.calls), failed=len(failed), refused=len(refused), acknowledged=len(said), lost=len(lost),
        healed_s=round(healed, 1),
    )  # fmt: skip
    assert refused, "the fault did not bite"
    assert failed == []
    assert len(said) < LISTED
    assert lost == set()
