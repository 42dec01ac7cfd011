"""C5: the write-ahead log is cut at every frame edge and beside it: it opens, with a whole beginning of what was acknowledged."""

from __future__ import annotations

import shutil
from pathlib import Path

from atoll.kit.clock import SystemClock
from atoll.settings import Store as StoreSettings
from atoll.store.base import Revision
from atoll.store.sqlite import open_store
from atoll.testing.promises import Log
from tests.fault.faults.corruption import cut, frame_edges
from tests.fault.scenario import Scenario
from tests.fault.store_process import store_process
from tests.fault.stores import log_of


async def crashed_with_a_log(folder: Path, commits: int) -> Log:
    """A state folder as kill -9 leaves it, with all its commits in the log; and what they were."""
    async with store_process(folder) as store:
        for number in range(commits):
            keys = {f"web/{number}-{part}": f"{number}.{part}" for part in range(1 + number % 3)}
            await store.commit(keys | ({f"web/{number - 1}-0": None} if number % 4 == 3 else {}))
        log, _ = await store.log()
        store.kill()
        await store.wait()
    return log


async def test_a_torn_log_opens_with_a_beginning_of_the_commits_and_nothing_else(scenario: Scenario) -> None:
    log = await crashed_with_a_log(scenario.state(), scenario.times(25, 120))
    wal = (scenario.state() / "state.db-wal").read_bytes()
    edges = frame_edges(wal)
    sizes = {0, 1, 31, *edges}
    for edge in edges:
        sizes |= {max(0, edge + scenario.rng.randrange(-30, 30)), scenario.rng.randrange(len(wal))}
    lengths = set()
    for size in sorted(size for size in sizes if size <= len(wal)):
        torn = scenario.folder / "torn"
        shutil.copytree(scenario.state(), torn)
        cut(torn / "state.db-wal", size)
        async with open_store(torn, StoreSettings(), SystemClock()) as store:
            found = await log_of(store)
            assert found == {revision: log[revision] for revision in range(1, len(found) + 1)}, size
            assert store.revision == Revision(len(found))
        lengths.add(len(found))
        shutil.rmtree(torn)
    scenario.measured(cuts=len(sizes), commits=len(log), different_beginnings=len(lengths))
    assert lengths >= {0, len(log)}, "the cuts did not reach from nothing to everything"
    assert len(lengths) > len(log) // 2
