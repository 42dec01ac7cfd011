"""C7: a second control plane on the same folder is refused at once, by name of the first, and writes nothing."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from tests.fault.scenario import Scenario
from tests.fault.store_process import Refused, store_process


def checksums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


async def test_the_second_on_a_folder_is_refused_names_the_first_and_writes_nothing(scenario: Scenario) -> None:
    async with store_process(scenario.state()) as first:
        await first.commit({"web/a": "1"})
        holder = (scenario.state() / "lock").read_text()
        for _ in range(scenario.times(2, 10)):
            with pytest.raises(Refused) as refusal:
                async with store_process(scenario.state()):
                    pass
            assert refusal.value.code == "already-running"
            assert refusal.value.fields["pid"] == first.pid
        assert (scenario.state() / "lock").read_text() == holder
        revision = await first.commit({"web/a": "2"})
        first.kill()
        await first.wait()
    before = checksums(scenario.state())
    assert set(before) == {"state.db", "state.db-wal", "lock"}
    async with store_process(scenario.state()) as next_one:  # a kill leaves no stale lock behind
        assert next_one.revision == revision


async def test_many_that_start_at_once_leave_one_that_runs(scenario: Scenario) -> None:
    async def start(number: int) -> bool:
        try:
            async with store_process(scenario.state()) as store:
                await store.commit({f"web/{number}": "mine"})
                await ran.wait()
                return True
        except Refused as refusal:
            assert refusal.code == "already-running"
            refusals.append(number)
            if len(refusals) == 3:
                ran.set()
            return False

    ran, refusals = asyncio.Event(), list[int]()
    outcomes = await asyncio.gather(*(start(number) for number in range(4)))
    assert outcomes.count(True) == 1
