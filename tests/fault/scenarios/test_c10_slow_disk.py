"""C10: every sync takes long: writers share one, and what needs no disk does not wait for it."""

from __future__ import annotations

import asyncio

from atoll.testing.history import acknowledged
from atoll.testing.promises import acked_is_durable, judge, revisions_grow
from tests.fault.drivers.driver_store_writes import commit
from tests.fault.faults.strace import SYNCS, read_trace, slow
from tests.fault.scenario import Scenario
from tests.fault.store_process import store_process

WRITERS = 20


async def test_on_a_slow_disk_writers_share_a_sync_and_renewals_and_reads_do_not_wait(scenario: Scenario) -> None:
    history, trace = scenario.history(), scenario.folder / "trace"
    milliseconds, rounds = scenario.times(100, 500), scenario.times(3, 12)
    async with store_process(scenario.state(), before=slow(SYNCS, milliseconds, log=trace)) as store:
        lease = (await store.ask("grant", ttl=60.0))["lease"]

        async def write(writer: int) -> None:
            for number in range(rounds):
                assert await commit(store, history, f"w{writer}", {f"web/{writer}": f"<{writer}.{number}>"})

        overtaken = 0
        async with asyncio.TaskGroup() as group:
            for writer in range(WRITERS):
                group.create_task(write(writer))
            for _ in range(rounds):  # given at once: what counts is in which order it answers
                late = store.send("commit", operations=[{"kind": "put", "key": "web/x", "value": "x"}], expect=[])
                others = store.send("keep_alive", lease=lease), store.send("get", key="web/x")
                order: list[object] = []
                for answer in (late, *others):
                    answer.add_done_callback(order.append)
                await asyncio.gather(late, *others)
                overtaken += order[-1] is late
        log, _ = await store.log()
        assert await store.close() == 0
    syncs = sum(call.name in SYNCS.split(",") and call.path.endswith("-wal") for call in read_trace(trace))
    answered = len(acknowledged(history.calls, "commit"))
    scenario.measured(acknowledged=answered, syncs=syncs, commits_per_sync=round(answered / syncs, 1))
    assert answered == WRITERS * rounds
    assert answered >= 4 * syncs, "writers did not share syncs"
    # where a machine is so busy that the process gets no turn for a whole sync, it answers all at once
    assert overtaken >= (rounds if scenario.long else 1), "a renewal or a read waited for the disk"
    judge(acked_is_durable(history.calls, log), revisions_grow(history.calls))
