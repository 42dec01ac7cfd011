"""A scenario that cannot fail proves nothing: each of these runs against a store with one promise broken, and must fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.fault.scenario import Scenario
from tests.fault.scenarios import test_b07_races as b07
from tests.fault.scenarios import test_c01_process_crash as c01
from tests.fault.scenarios import test_c02_answer_after_sync as c02
from tests.fault.scenarios import test_c03_sync_fails as c03
from tests.fault.store_process import Refused

C01 = c01.test_every_acknowledged_write_survives_kill_9_and_watchers_resume_without_a_gap
C02 = c02.test_every_answer_leaves_after_the_sync_of_the_log_that_holds_its_write
C03 = c03.test_after_a_failed_sync_nothing_is_acknowledged_the_process_ends_and_a_restart_recovers
B07 = b07.test_a_contested_key_is_linearizable_across_pauses

BROKEN: dict[str, tuple[Callable[[Scenario], Awaitable[None]], str, str | None]] = {
    "acknowledged before it is written, seen by kill -9": (C01, "answers-first", "acked-is-durable"),
    "acknowledged before it is written, seen by strace": (C02, "answers-first", "answered at"),
    "acknowledged without a sync": (C02, "no-sync", "answered at"),
    "a failed sync taken for success": (C03, "forgives-the-disk", None),
    "events that never come": (C01, "skips-events", "watch Reliable"),
    "reads of an older state": (B07, "stale-reads", None),
}


@pytest.mark.parametrize("flaw", BROKEN)
async def test_a_broken_promise_makes_its_scenario_fail(
    scenario: Scenario, flaw: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, kind, said = BROKEN[flaw]
    monkeypatch.setenv("ATOLL_TEST_SABOTAGE", kind)
    scenario.long, scenario.share = False, 0.04 if kind == "forgives-the-disk" else 0.3  # that one waits for an end
    with pytest.raises((AssertionError, TimeoutError, Refused), match=said):
        await run(scenario)
