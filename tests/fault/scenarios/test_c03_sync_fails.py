"""C3: the disk fails (EIO at the n-th sync, write or checkpoint): no answer says yes, the process ends, a restart recovers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atoll.testing.history import acknowledged, read_history
from atoll.testing.promises import acked_is_durable, judge, log_is_whole, refused_did_not_happen, revisions_grow
from tests.fault.drivers.driver_store_writes import commit, driver_store_writes, fresh_value
from tests.fault.faults.strace import SYNCS, failing, read_trace
from tests.fault.programs.store_program import REFUSED_TO_START, STORAGE_FAILED
from tests.fault.scenario import Scenario
from tests.fault.store_process import Lost, Refused, StoreProcess, store_process

LARGE = "x" * 200_000
END = 20.0
"""Seconds that the process has to end after its disk has failed; it takes milliseconds."""


async def life(scenario: Scenario, folder: Path, before: list[str], name: str, *, large: bool = False) -> int:
    """Write until the disk fails; returns how the process ended."""
    history = scenario.history(name)
    try:
        async with store_process(folder, before=before) as store:
            await (write_large(store, scenario, name) if large else write(store, scenario, name))
            assert not acknowledged_after_failure(scenario, name)
            return await asyncio.wait_for(store.wait(), scenario.share * END)
    except Refused as refusal:
        assert refusal.code == "storage-failed", refusal
        assert not history.calls
        return REFUSED_TO_START


async def write(store: StoreProcess, scenario: Scenario, name: str) -> None:
    async with asyncio.TaskGroup() as group:
        for writer in range(3):
            rng = scenario.rng.__class__(f"{scenario.seed}/{name}/{writer}")
            group.create_task(
                driver_store_writes(
                    store, scenario.history(name), f"w{writer}", rng=rng, rate=300, calls=200, seconds=5
                )
            )


async def write_large(store: StoreProcess, scenario: Scenario, name: str) -> None:
    """Enough bytes that the log is copied into the database, several times."""
    for _ in range(100):
        try:
            if await commit(store, scenario.history(name), "w", {"web/large": fresh_value("w") + LARGE}) is None:
                break
        except Lost:
            break


def acknowledged_after_failure(scenario: Scenario, name: str) -> list[object]:
    calls = read_history(scenario.folder / "histories" / f"{name}.jsonl")
    failed = min((call.end for call in calls if call.error == "storage-failed"), default=float("inf"))
    return [call for call in acknowledged(calls, "commit") if call.start > failed]


async def recovered(scenario: Scenario, folder: Path, name: str) -> int:
    """Start again without the fault and judge; returns how many were acknowledged."""
    calls = read_history(scenario.folder / "histories" / f"{name}.jsonl")
    async with store_process(folder) as store:
        log, compacted = await store.log()
        assert await store.commit({"web/after": "works"}) > store.revision
    judge(
        acked_is_durable(calls, log, compacted=compacted),
        refused_did_not_happen(calls, log),
        log_is_whole(log, compacted=compacted),
        revisions_grow(calls),
    )
    return len(acknowledged(calls, "commit"))


async def test_after_a_failed_sync_nothing_is_acknowledged_the_process_ends_and_a_restart_recovers(
    scenario: Scenario,
) -> None:
    found = 0
    wanted = [1, 2, 3, 5, 9, 14] if not scenario.long else range(1, 41)
    for n in wanted:
        folder = scenario.state(f"state-{n}")
        ended = await life(
            scenario, folder, failing(SYNCS, "EIO", first=n, log=scenario.folder / f"trace-{n}"), f"n{n}"
        )
        assert ended in {REFUSED_TO_START, STORAGE_FAILED}, (n, ended)
        found += await recovered(scenario, folder, f"n{n}")
    scenario.measured(injections=len(wanted), acknowledged=found)
    assert found > 0, "no write was acknowledged before any failure: the fault came too early to prove anything"


@pytest.mark.parametrize("calls", [SYNCS, "pwrite64"])
async def test_a_checkpoint_that_fails_costs_nothing_that_was_acknowledged(scenario: Scenario, calls: str) -> None:
    for n in range(1, 1 + scenario.times(1, 4)):
        folder = scenario.state(f"state-{n}")
        async with store_process(folder) as store:
            await store.commit({"web/first": "made before the fault"})
            assert await store.close() == 0
        trace = scenario.folder / f"trace-{n}"
        words = failing(calls, "EIO", first=n, path=folder / "state.db", log=trace)
        ended = await life(scenario, folder, words, f"n{n}", large=True)
        assert ended == STORAGE_FAILED, (n, ended)
        assert any(call.name in calls.split(",") and "INJECTED" in call.result for call in read_trace(trace))
        assert await recovered(scenario, folder, f"n{n}") > 0


async def test_a_write_to_the_log_that_fails_is_final_too(scenario: Scenario) -> None:
    wanted = [1, 4, 9] if not scenario.long else range(1, 30)
    for n in wanted:
        folder = scenario.state(f"state-{n}")
        async with store_process(folder) as store:
            await store.commit({"web/first": "made before the fault"})
            await store.close()
        words = failing("pwrite64", "EIO", first=n, path=folder / "state.db-wal", log=scenario.folder / f"trace-{n}")
        assert await life(scenario, folder, words, f"n{n}") in {STORAGE_FAILED, REFUSED_TO_START}
        await recovered(scenario, folder, f"n{n}")
