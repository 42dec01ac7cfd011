"""C11: the power goes at any moment, and what was not synced is lost in any order: everything acknowledged is there."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from atoll.kit.clock import SystemClock
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store import sqlite
from atoll.store.base import Put, Store
from atoll.store.sqlite import open_store
from atoll.testing.promises import Log
from tests.fault.faults.power import Answer, Lost, PowerDisk, Sync
from tests.fault.scenario import Scenario
from tests.fault.stores import log_of

WRITERS = 4


async def write(store: Store, disk: PowerDisk, writer: int, times: int) -> None:
    for number in range(times):
        key = Key(f"web/{writer}-{number % 7}")
        disk.events.append(Answer(await store.commit([Put(key, f"{writer}.{number}".encode() * 40)])))


async def test_what_was_acknowledged_is_there_after_a_power_cut_at_any_moment(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 40)  # so that the log is copied into the database several times
    times = scenario.times(12, 60)
    with PowerDisk() as disk:
        async with open_store(scenario.state(), StoreSettings(), SystemClock(), vfs=disk.name) as store:
            await asyncio.gather(*(write(store, disk, writer, times) for writer in range(WRITERS)))
            log: Log = await log_of(store)
    last = max(at for at, event in enumerate(disk.events) if isinstance(event, Answer))
    first = min(at for at, event in enumerate(disk.events) if isinstance(event, Answer))
    moments = scenario.rng.sample(range(first, last + 1), scenario.times(40, 400))
    kept_more = 0
    for moment in sorted({first, last + 1, *moments}):
        acknowledged = max((event.revision for event in disk.events[:moment] if isinstance(event, Answer)), default=0)
        for lost in Lost:
            after = scenario.folder / "after"
            after.mkdir()
            disk.put(after, disk.at(moment, lost, scenario.rng))
            async with open_store(after, StoreSettings(), SystemClock()) as store:
                found = await log_of(store)
            assert found == {revision: log[revision] for revision in range(1, len(found) + 1)}, (moment, lost)
            assert len(found) >= acknowledged, (moment, lost)
            kept_more += len(found) > acknowledged
            shutil.rmtree(after)
    syncs = sum(isinstance(event, Sync) for event in disk.events)
    checkpoints = sum(isinstance(event, Sync) and event.file.endswith(".db") for event in disk.events[first:])
    scenario.measured(cuts=len(moments) * len(Lost), commits=len(log), syncs=syncs, checkpoints=checkpoints)
    assert checkpoints, "the log was never copied into the database"
    assert kept_more, "no cut fell between a sync and its answer"


async def test_a_store_that_answers_before_its_sync_is_found_out(scenario: Scenario) -> None:
    """The check can fail: with the syncs left out of what the disk remembers, something acknowledged is missing."""
    with PowerDisk() as disk:
        async with open_store(scenario.state(), StoreSettings(), SystemClock(), vfs=disk.name) as store:
            await write(store, disk, 0, 5)
            end = len(disk.events)
    disk.events = [
        event for event in disk.events[:end] if not (isinstance(event, Sync) and event.file.endswith("-wal"))
    ]
    after = scenario.state("after")
    disk.put(after, disk.at(len(disk.events), Lost.ALL, scenario.rng))
    async with open_store(after, StoreSettings(), SystemClock()) as store:
        assert len(await log_of(store)) < 5
