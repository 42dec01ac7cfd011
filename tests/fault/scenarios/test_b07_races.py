"""B7, B10: races for one key, across kills and pauses: one winner a revision, and some single order explains every answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from atoll.testing.history import History, Outcome, acknowledged
from atoll.testing.linearizable import linearizable
from atoll.testing.promises import judge, revisions_grow
from tests.fault.drivers.driver_store_writes import fresh_value
from tests.fault.faults.process import paused
from tests.fault.scenario import Scenario
from tests.fault.store_process import Lost, Refused, StoreProcess, conditions, operations, store_process

KEY = "web/contested"


async def client(store: StoreProcess, history: History, name: str, rng: random.Random, calls: int) -> None:
    """Reads, writes and compare-and-sets of one key, one after the other, until the process dies."""
    seen = 0
    for _ in range(calls):
        kind = rng.choice(["get", "put", "cas", "cas"])
        try:
            if kind == "get":
                with history.call(name, "get") as call:
                    answer = await store.ask("get", key=KEY)
                    seen = answer["modified"]
                    call.answered({"value": answer["value"], "modified": seen}, revision=answer["revision"])
            else:
                seen = await write(store, history, name, kind, seen) or seen
        except Lost:
            return
        await asyncio.sleep(rng.uniform(0, 0.004))


async def write(store: StoreProcess, history: History, name: str, kind: str, seen: int) -> int | None:
    value = fresh_value(name)
    expect = {KEY: seen} if kind == "cas" else {}
    with history.call(name, kind, value=value, expect=seen) as call:
        try:
            answer = await store.ask("commit", operations=operations({KEY: value}), expect=conditions(expect))
        except Refused as refusal:
            call.refused(refusal.code)
            return None
        call.answered(revision=answer["revision"])
        return int(answer["revision"])


async def run(
    scenario: Scenario, history: History, lives: int, calls: int, fault: Callable[[StoreProcess], None]
) -> None:
    for life in range(lives):
        async with store_process(scenario.state()) as store, asyncio.TaskGroup() as group:
            for number in range(5):
                rng = random.Random(f"{scenario.seed}/{life}/{number}")
                group.create_task(client(store, history, f"c{number}", rng, calls))
            await asyncio.sleep(scenario.rng.uniform(0.0, 0.08))
            fault(store)


async def test_a_contested_key_is_linearizable_across_kills(scenario: Scenario) -> None:
    for number in range(scenario.times(2, 20)):
        history = scenario.history(f"calls-{number}")
        start = len(history.calls)
        scenario_state = scenario.state()
        for path in scenario_state.iterdir():
            path.unlink()
        await run(scenario, history, 3, 18, StoreProcess.kill)
        calls = history.calls[start:]
        verdict = linearizable(calls)
        assert verdict.linearizable, f"after {len(verdict.order)} of {len(calls)} calls none of {verdict.stuck} fits"
        judge(revisions_grow(calls))
        unknown = sum(call.outcome is Outcome.UNKNOWN for call in calls)
        scenario.measured(calls=len(calls), acknowledged=len(acknowledged(calls)), unknown=unknown)


async def test_a_contested_key_is_linearizable_across_pauses(scenario: Scenario) -> None:
    history = scenario.history()

    def pause(store: StoreProcess) -> None:
        for _ in range(scenario.times(3, 10)):
            with paused(store.pid):
                pass

    await run(scenario, history, 1, 50, pause)
    assert linearizable(history.calls).linearizable
    judge(revisions_grow(history.calls))


async def test_of_fifty_who_compare_and_set_at_once_one_wins_each_revision(scenario: Scenario) -> None:
    history = scenario.history()
    async with store_process(scenario.state()) as store:
        rounds = scenario.times(5, 50)
        modified = 0
        for _ in range(rounds):
            answers = await asyncio.gather(
                *(write(store, history, f"c{number}", "cas", modified) for number in range(50))
            )
            winners = [revision for revision in answers if revision is not None]
            assert len(winners) == 1
            modified = winners[0]
        assert modified == rounds
        assert {call.error for call in history.calls} == {None, "revision-conflict"}
