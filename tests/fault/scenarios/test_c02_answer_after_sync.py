"""C2: each acknowledgement leaves the process after the sync of the log that holds its write; seen by strace."""

from __future__ import annotations

import asyncio
import re

from atoll.testing.history import acknowledged
from tests.fault.drivers.driver_store_writes import driver_store_writes
from tests.fault.faults.strace import Syscall, read_trace, traced
from tests.fault.scenario import Scenario
from tests.fault.store_process import store_process

CALLS = "pwrite64,write,fdatasync,fsync"
ANSWER = re.compile(r'\\"id\\":(\d+),\\"revision\\":(\d+)\}')


def too_early(calls: list[Syscall], written: dict[int, list[str]]) -> list[str]:
    """Revisions whose answer began before a sync had ended that began after the log held all their values."""
    wal = [call for call in calls if call.path.endswith("-wal")]
    violations = []
    for call in calls:
        found = ANSWER.search(call.arguments) if call.name == "write" and call.arguments.startswith("1<") else None
        if found is None or int(found[2]) not in written:
            continue
        values = written.pop(int(found[2]))
        holds = [
            min((one.ended for one in wal if one.name == "pwrite64" and value in one.arguments), default=None)
            for value in values
        ]
        synced = [one.ended for one in wal if one.name in {"fdatasync", "fsync"} and one.went_well]
        after = [one for one in wal if one.name in {"fdatasync", "fsync"} and one.went_well and one.ended < call.began]
        if not all(place is not None and any(one.began > place for one in after) for place in holds):
            violations.append(f"revision {found[2]} answered at {call.began}; held at {holds}, synced at {synced}")
    return violations + [f"revision {revision} was answered out of sight" for revision in written]


async def test_every_answer_leaves_after_the_sync_of_the_log_that_holds_its_write(scenario: Scenario) -> None:
    trace = scenario.folder / "trace"
    history = scenario.history()
    calls = scenario.times(12, 100)
    async with store_process(scenario.state(), before=traced(CALLS, log=trace)) as store:
        async with asyncio.TaskGroup() as group:
            for writer in range(6):
                rng = scenario.rng.__class__(f"{scenario.seed}/{writer}")
                group.create_task(driver_store_writes(store, history, f"w{writer}", rng=rng, rate=200, calls=calls))
        assert await store.close() == 0  # so that strace writes everything down
    answered = acknowledged(history.calls, "commit")
    written = {
        call.revision: [op["value"] for op in call.arguments["operations"] if op["kind"] == "put"]
        for call in answered
        if call.revision is not None
    }
    syscalls = read_trace(trace)
    syncs = sum(call.name in {"fdatasync", "fsync"} and call.path.endswith("-wal") for call in syscalls)
    scenario.measured(acknowledged=len(answered), syncs=syncs)
    assert len(answered) == 6 * calls
    assert too_early(syscalls, written) == []


def test_the_check_sees_an_answer_that_came_before_its_sync() -> None:
    def call(place: int, name: str, arguments: str, end: int | None = None) -> Syscall:
        return Syscall(1, name, arguments, "0", place, end if end is not None else place)

    log, answer = "5</s/state.db-wal>", '1<pipe:[1]>, "{\\"id\\":7,\\"revision\\":3}\\n"'
    good = [call(0, "pwrite64", f'{log}, "<a>"'), call(1, "fdatasync", log), call(2, "write", answer)]
    assert too_early(good, {3: ["<a>"]}) == []
    unsynced = [call(0, "fdatasync", log), call(1, "pwrite64", f'{log}, "<a>"'), call(2, "write", answer)]
    running = [call(0, "pwrite64", f'{log}, "<a>"'), call(1, "fdatasync", log, 3), call(2, "write", answer)]
    before = [call(1, "pwrite64", f'{log}, "<a>"', 3), call(2, "fdatasync", log, 4), call(5, "write", answer)]
    never = [call(1, "fdatasync", log), call(2, "write", answer)]
    for wrong in (unsynced, running, before, never, good[:2]):
        assert len(too_early(wrong, {3: ["<a>"]})) == 1
