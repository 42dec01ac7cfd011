"""G8: the telemetry disk is full: inserts are refused, reads go on, it heals by itself; the oldest goes first."""

from __future__ import annotations

from tests.fault.faults.full_disk import Ballast, small_disk
from tests.fault.scenario import Scenario
from tests.fault.telemetry_process import Refused, TelemetryProcess, telemetry_process

MEGABYTES = 64


def insert_until(running: TelemetryProcess, numbers: list[int], outcome: str | None, *, filler: int = 0) -> None:
    """Insert until one is acknowledged (None) or refused with that code; `numbers` are those acknowledged."""
    for _ in range(200):
        number = numbers[-1] + 1 if numbers else 1
        try:
            running.ask("insert", number=number, filler=filler)
        except Refused as refused:
            if refused.code == outcome:
                return
        else:
            numbers.append(number)
            if outcome is None:
                return
    raise AssertionError(f"no insert came out as {outcome}")


async def test_a_full_disk_refuses_inserts_only_and_heals_by_itself(scenario: Scenario) -> None:
    disk = scenario.state("disk")
    numbers: list[int] = []
    with telemetry_process(disk, before=small_disk(disk, MEGABYTES)) as running:
        ballast = Ballast(running.pid, disk)
        for _ in range(scenario.times(2, 10)):
            insert_until(running, numbers, None)
            ballast.fill(leave=scenario.rng.randrange(100_000))
            insert_until(running, numbers, "storage-full")
            assert set(map(int, running.ask("batches")["logs"])) == set(numbers), (
                "reads go on, and tell what was stored"
            )
            ballast.drop()
            insert_until(running, numbers, None)
        assert set(map(int, running.ask("batches")["logs"])) == set(numbers)
    scenario.measured(acknowledged=len(numbers))


async def test_retention_makes_room_before_the_disk_is_full(scenario: Scenario) -> None:
    disk = scenario.state("disk")
    numbers: list[int] = []
    with telemetry_process(disk, before=small_disk(disk, MEGABYTES)) as running:
        for _ in range(4):
            insert_until(running, numbers, None, filler=10_000)
        assert running.ask("sweep") == {"dropped": 0, "failures": 0}
        # Less than a twentieth of the disk. On one without a free megabyte the engine cannot even write down an end.
        Ballast(running.pid, disk).fill(leave=2_500_000)
        assert running.ask("sweep")["dropped"] > 0
        left = set(map(int, running.ask("batches")["logs"]))
        assert max(numbers) in left
        assert 1 not in left, "the oldest goes first"
    scenario.measured(acknowledged=len(numbers), left=len(left))
