"""C8, C14: backups and children under load: the locks stay held, the copy is one revision, the original stays sound."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw

from atoll.kit.clock import SystemClock
from atoll.settings import Store as StoreSettings
from atoll.store.backup import restore
from atoll.store.sqlite import open_store
from atoll.testing.history import acknowledged
from atoll.testing.promises import acked_is_durable, judge
from tests.fault.drivers.driver_store_writes import driver_store_writes
from tests.fault.scenario import Scenario
from tests.fault.store_process import store_process
from tests.fault.stores import entries_of


def locks_on(path: Path, pid: int) -> list[str]:
    """The locks that `pid` holds on the file, by kind (/proc/locks)."""
    inode = str(path.stat().st_ino)
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return sorted(
        f"{words[1]} {words[3]}"
        for words in lines
        if words[1] != "->" and words[4] == str(pid) and words[5].endswith(f":{inode}")
    )


async def test_backups_under_load_keep_the_locks_and_are_whole(scenario: Scenario) -> None:
    state, history = scenario.state(), scenario.history()
    backups: list[tuple[Path, int]] = []
    async with store_process(state) as store:
        await store.commit({"web/first": "1"})
        before = [locks_on(state / name, store.pid) for name in ("state.db", "lock")]
        assert before[0], "SQLite holds no lock on its file"
        assert before[1] == ["FLOCK WRITE"]
        async with asyncio.TaskGroup() as group:
            for writer in range(4):
                rng = scenario.rng.__class__(f"{scenario.seed}/{writer}")
                calls = scenario.times(40, 400)
                group.create_task(driver_store_writes(store, history, f"w{writer}", rng=rng, rate=200, calls=calls))
            for number in range(scenario.times(4, 40)):
                target = scenario.folder / f"backup-{number}"
                backups.append((target, (await store.ask("backup", target=str(target)))["revision"]))
                await asyncio.sleep(0.02)
        after = [locks_on(state / name, store.pid) for name in ("state.db", "lock")]
        assert after == before
        log, _ = await store.log()
        assert await store.close() == 0
    judge(acked_is_durable(history.calls, log))
    connection = apsw.Connection(str(state / "state.db"))
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    connection.close()
    for number, (target, revision) in enumerate(backups):
        folder = scenario.folder / f"restored-{number}"
        assert restore(target, folder).backup_revision == revision
        wanted: dict[str, str] = {}
        for happened in (change for at in range(1, revision + 1) for change in log[at]):
            if happened.value is None:
                wanted.pop(happened.key)
            else:
                wanted[happened.key] = happened.value
        async with open_store(folder, StoreSettings(), SystemClock()) as again:
            assert {key: entry[0] for key, entry in (await entries_of(again)).items()} == wanted
    scenario.measured(backups=len(backups), acknowledged=len(acknowledged(history.calls)))
