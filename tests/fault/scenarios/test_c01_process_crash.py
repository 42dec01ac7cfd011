"""C1, B2: kill -9 at random moments under writes, while watched: nothing acknowledged is lost, no watcher is misled."""

from __future__ import annotations

import asyncio

from atoll.settings import Store as StoreSettings
from atoll.testing.history import acknowledged, read_history
from atoll.testing.promises import acked_is_durable, judge, log_is_whole, refused_did_not_happen, revisions_grow
from atoll.testing.watched import sessions_of, watch_contract
from tests.fault.drivers.driver_store_writes import driver_store_watch, driver_store_writes
from tests.fault.scenario import Scenario
from tests.fault.store_process import StoreProcess, store_process

WRITERS = 5
KEEP_ALL = StoreSettings(history=1_000_000)
WATCHED = {"all": "", "web": "web/", "web2": "web2/"}


async def life(store: StoreProcess, scenario: Scenario, number: int, resume: dict[str, int]) -> int:
    """One life of the process: five writers and three watchers until kill -9 at a random moment; how many were acknowledged."""
    writes, watches = scenario.history(f"writes-{number}"), scenario.history(f"watches-{number}")

    async def watch(name: str, prefix: str) -> None:
        resume[name] = await driver_store_watch(store, watches, name, prefix=prefix, start=resume[name])

    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            rng = scenario.rng.__class__(f"{scenario.seed}/{number}/{writer}")
            group.create_task(
                driver_store_writes(store, writes, f"w{writer}", rng=rng, prefixes=("web/", "web2/"), rate=100)
            )
        for name, prefix in WATCHED.items():
            group.create_task(watch(name, prefix))
        await asyncio.sleep(scenario.rng.uniform(0.0, 0.25))
        store.kill()
    return len(acknowledged(writes.calls, "commit"))


async def test_every_acknowledged_write_survives_kill_9_and_watchers_resume_without_a_gap(scenario: Scenario) -> None:
    kills = scenario.times(8, 200)
    resume = dict.fromkeys(WATCHED, 1)
    lives = said = 0
    while lives < kills or said <= kills:  # a machine that stands still may let nobody write in one of them
        async with store_process(scenario.state(), settings=KEEP_ALL) as store:
            said += await life(store, scenario, lives, resume)
        lives += 1
    async with store_process(scenario.state(), settings=KEEP_ALL) as store:
        log, compacted = await store.log()
        last = scenario.history("watches-last")
        for name, prefix in WATCHED.items():
            await driver_store_watch(store, last, name, prefix=prefix, start=resume[name], until=store.revision)
    histories = sorted((scenario.folder / "histories").iterdir())
    calls = read_history(*histories)
    scenario.measured(kills=lives, acknowledged=said, revisions=len(log))
    assert compacted == 0
    assert len(acknowledged(calls, "commit")) == said
    judge(
        acked_is_durable(calls, log),
        refused_did_not_happen(calls, log),
        log_is_whole(log),
        revisions_grow(calls),
        watch_contract(sessions_of(calls), log),
    )
