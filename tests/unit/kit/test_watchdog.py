from __future__ import annotations

import asyncio
import os
import sys

import pytest

from atoll.kit.clock import Instant
from atoll.kit.vitals import vitals
from atoll.kit.watchdog import FRAMES, Watchdog, describe
from atoll.testing import FakeClock

LIMIT, QUIET = 1.0, 60.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(now=0.0)


@pytest.fixture
def dog(clock: FakeClock) -> Watchdog:
    return Watchdog(clock, limit=LIMIT, quiet=QUIET)


def looks(dog: Watchdog, until: float, *, since: float = 0.0, busy: bool = True) -> list[float]:
    """Look every quarter of a second; the moments at which an episode began."""
    found, moment = [], since
    while moment < until:
        moment += LIMIT / 4
        if dog.look(Instant(moment), moment if busy else 0.0):
            dog.begin("somebody")
            found.append(moment)
    return found


def test_one_episode_is_told_once_however_long_it_lasts(dog: Watchdog) -> None:
    assert looks(dog, 30.0) == [LIMIT]
    assert dog.blocked == 1


def test_a_loop_that_gives_signs_of_life_is_never_blocked(dog: Watchdog) -> None:
    for tenth in range(300):
        dog.beat(Instant(tenth / 10), Instant((tenth + 9) / 10))
        assert not dog.look(Instant(tenth / 10 + 0.95), 0.0)


def test_the_next_episode_is_told_again(dog: Watchdog) -> None:
    assert looks(dog, 2.0) == [LIMIT]
    dog.beat(Instant(0), Instant(2.25))
    assert looks(dog, 5.0, since=2.25) == [3.25]
    assert dog.blocked == 2


def test_a_process_that_was_paused_as_a_whole_was_not_blocked(dog: Watchdog) -> None:
    assert not dog.look(Instant(0.25), 0.1)
    assert not dog.look(Instant(100.0), 0.1), "SIGSTOP: the thread slept as long, and no processor time was used"
    assert looks(dog, 100.75, since=100.0) == []
    assert looks(dog, 101.5, since=100.75) == [101.0], "blocked after the pause is blocked"


def test_code_that_keeps_the_interpreter_to_itself_is_an_episode_though_the_thread_was_late(dog: Watchdog) -> None:
    assert dog.look(Instant(5.0), 4.9)


def test_lag_is_what_a_sleep_took_too_long(dog: Watchdog) -> None:
    dog.beat(Instant(0), Instant(0.75))
    dog.beat(Instant(1), Instant(1.25))
    assert (dog.lag, dog.lag_most) == (0.0, 0.5)


async def test_degraded_until_it_was_quiet_for_long_enough(dog: Watchdog, clock: FakeClock) -> None:
    assert dog.warning == ""
    await clock.advance(3.0)
    assert dog.look(clock.now(), 3.0)
    dog.begin("task x in y:1:z")
    assert dog.warning == "the event loop is blocked by task x in y:1:z"
    assert dog.blocked_seconds == 3.0
    dog.beat(Instant(0), clock.now())
    await clock.advance(QUIET - 1)
    assert dog.warning == "the event loop was blocked for 3.0 s, 59 s ago, by task x in y:1:z"
    await clock.advance(1)
    assert dog.warning == ""
    assert dog.blocked_seconds == 3.0


async def test_a_limit_of_zero_watches_nothing(clock: FakeClock) -> None:
    before = asyncio.all_tasks()
    async with Watchdog(clock, limit=0, quiet=1).watching():
        assert asyncio.all_tasks() == before


async def test_who_blocks_is_told_by_task_function_and_line_without_any_value() -> None:
    secret = "a-secret-value"  # noqa: F841 - it is what must not be told

    def innermost() -> str:
        return describe(asyncio.current_task(), sys._getframe())

    def deep(levels: int) -> str:
        return deep(levels - 1) if levels else innermost()

    task = asyncio.current_task()
    assert task is not None
    task.set_name("evil\n\x1b[31mname")
    told = deep(50)
    assert "test_watchdog.py:" in told
    assert ":innermost < " in told
    assert "a-secret-value" not in told
    assert told.isprintable()
    assert told.count(" < ") == FRAMES - 1
    assert describe(None, None) == "a callback in "


def test_vitals_are_of_the_processes_that_are_there() -> None:
    ours = vitals([os.getpid()])
    assert ours.memory > 1 << 20
    assert ours.descriptors >= 3
    assert ours.cpu > 0
    assert vitals([os.getpid(), 1 << 30]).memory >= ours.memory // 2
    assert vitals([1 << 30]).descriptors == 0
