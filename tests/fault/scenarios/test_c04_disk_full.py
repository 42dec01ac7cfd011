"""C4: no room on disk: writes are refused, reads, watches and renewals go on, and it heals by itself."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from atoll.testing.history import History, acknowledged
from atoll.testing.promises import acked_is_durable, judge, log_is_whole, refused_did_not_happen, revisions_grow
from atoll.testing.watched import sessions_of, watch_contract
from tests.fault.checks.schedule import until
from tests.fault.drivers.driver_store_writes import commit, driver_store_watch, fresh_value
from tests.fault.faults.full_disk import Ballast, small_disk
from tests.fault.faults.process import paused
from tests.fault.faults.strace import failing
from tests.fault.scenario import Scenario
from tests.fault.store_process import StoreProcess, store_process

SMALL = "y" * 2000


async def write_until(store: StoreProcess, history: History, outcome: str | None) -> None:
    """Commit until one is answered (None) or refused with that code; a thousand at most."""
    for _ in range(1000):
        await commit(store, history, "w", {"web/k": fresh_value("w") + SMALL})
        if history.calls[-1].error == outcome:
            return
    raise AssertionError(f"no commit came out as {outcome}; the last one: {history.calls[-1].error}")


async def crash_image(store: StoreProcess, folder: Path, target: Path) -> None:
    """What is on the disk of its mount namespace at one moment, as a crash would leave it."""
    with paused(store.pid):
        shutil.copytree(f"/proc/{store.pid}/root{folder}", target, ignore=shutil.ignore_patterns("ballast"))


async def test_a_full_disk_refuses_writes_only_and_heals_by_itself(scenario: Scenario) -> None:
    disk = scenario.state("disk")
    history, watched = scenario.history(), scenario.history("watches")
    async with store_process(disk, before=small_disk(disk, 8)) as store, asyncio.TaskGroup() as group:
        group.create_task(driver_store_watch(store, watched, "watcher", prefix="", start=1))
        lease = (await store.ask("grant", ttl=60.0))["lease"]
        ballast = Ballast(store.pid, disk)
        for _ in range(scenario.times(3, 20)):
            await write_until(store, history, None)
            ballast.fill(leave=scenario.rng.randrange(40_000))
            await write_until(store, history, "storage-full")
            for _ in range(10):
                assert (await store.ask("keep_alive", lease=lease))["ttl"] == 60.0
                before = await store.ask("get", key="web/k")
                await write_until(store, history, "storage-full")
                assert await store.ask("get", key="web/k") == before, "a refused write shows"
            ballast.drop()
            await write_until(store, history, None)
        log, compacted = await store.log()
        await crash_image(store, disk, scenario.folder / "image")
        store.kill()
    async with store_process(scenario.folder / "image") as again:
        assert (await again.log())[0] == log, "what it said while the disk was full is not what it kept"
    refused = sum(call.error == "storage-full" for call in history.calls)
    scenario.measured(acknowledged=len(acknowledged(history.calls)), refused=refused)
    judge(
        acked_is_durable(history.calls, log, compacted=compacted),
        refused_did_not_happen(history.calls, log),
        log_is_whole(log, compacted=compacted),
        revisions_grow(history.calls),
        watch_contract(sessions_of(watched.calls), log),
    )


async def test_any_write_of_the_log_may_find_the_disk_full(scenario: Scenario) -> None:
    """By injection: the n-th write and the three after it, wherever in a transaction that is."""
    wanted = [1, 2, 5] if not scenario.long else range(1, 25)
    for n in wanted:
        folder, history = scenario.state(f"state-{n}"), scenario.history(f"n{n}")
        async with store_process(folder) as store:
            await store.commit({"web/k": "made before the fault"})
            await store.close()
        trace = scenario.folder / f"trace-{n}"
        words = failing("pwrite64", "ENOSPC", first=n, last=n + 3, path=folder / "state.db-wal", log=trace)
        async with store_process(folder, before=words) as store:
            await write_until(store, history, "storage-full")
            await write_until(store, history, None)
            store.kill()
        async with store_process(folder) as store:
            log, _ = await store.log()
        judge(acked_is_durable(history.calls, log), refused_did_not_happen(history.calls, log), log_is_whole(log))


async def test_killed_while_the_disk_is_full_it_starts_again_and_serves_reads(scenario: Scenario) -> None:
    disk, history = scenario.state("disk"), scenario.history()
    async with store_process(disk, before=small_disk(disk, 8)) as store:
        await write_until(store, history, None)
        ballast = Ballast(store.pid, disk)
        ballast.fill()
        await write_until(store, history, "storage-full")
        last = (await store.ask("get", key="web/k"))["value"]
        # A second program in the same mount namespace: the crash image with the same full disk under it.
        before = ["nsenter", f"--mount=/proc/{store.pid}/ns/mnt", f"--wd={disk}"]
        keeper = await asyncio.create_subprocess_exec(*before, "sleep", "300")
        try:
            await until(lambda: Path(f"/proc/{keeper.pid}/comm").read_text().strip() == "sleep", "the keeper")
            store.kill()
            await store.wait()
            inside = ["nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt"]
            async with store_process(disk, before=inside) as again:
                assert (await again.ask("get", key="web/k"))["value"] == last
                Ballast(again.pid, disk).drop()
                await write_until(again, history, None)
                log, _ = await again.log()
        finally:
            keeper.kill()
            await keeper.wait()
    judge(acked_is_durable(history.calls, log), refused_did_not_happen(history.calls, log))
