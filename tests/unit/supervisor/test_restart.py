from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.report import Phase
from atoll.model.service import Restart
from atoll.settings import Supervisor as Limits
from atoll.supervisor.restart import History, Verdict, after_end

LIMITS = Limits(restart_base=0.2, restart_cap=30.0, intensity=5, intensity_window=60.0)


def end(
    history: History, *, now: float = 0.0, ran: float = 0.0, code: int | None = 1, policy: Restart = Restart.ALWAYS
) -> Verdict:
    return after_end(history, policy, code, now=now, ran=ran, limits=LIMITS, rng=random.Random(7))


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        (Restart.ALWAYS, 0, True),
        (Restart.ALWAYS, 3, True),
        (Restart.ON_FAILURE, 0, False),
        (Restart.ON_FAILURE, 3, True),
        (Restart.ON_FAILURE, -9, True),
        (Restart.ON_FAILURE, None, True),
        (Restart.NO, 0, False),
        (Restart.NO, 3, False),
    ],
)
def test_the_policy_says_who_is_started_again(policy: Restart, code: int | None, again: bool) -> None:
    verdict = end(History(), code=code, policy=policy)
    assert (verdict.delay is not None) is again
    assert verdict.phase is (Phase.BACKOFF if again else Phase.EXITED)


def test_delays_double_until_the_crash_loop_waits_longest() -> None:
    history, now, delays, phases = History(), 0.0, [], []
    for _ in range(7):
        verdict = end(history, now=now)
        assert verdict.delay is not None
        history, now = verdict.history, now + verdict.delay
        delays.append(verdict.delay)
        phases.append(verdict.phase)
    for delay, middle in zip(delays, (0.2, 0.4, 0.8, 1.6, 30, 30, 30), strict=True):
        assert 0.8 * middle <= delay <= min(30, 1.2 * middle)
    assert phases == [Phase.BACKOFF] * 4 + [Phase.CRASH_LOOP] * 3
    assert history.total == 7


def test_a_stable_run_forgives_everything_but_the_count() -> None:
    history = History()
    for _ in range(6):
        history = end(history).history
    assert history.looping
    assert end(history, now=100.0, ran=59.9).phase is Phase.CRASH_LOOP
    verdict = end(history, now=100.0, ran=60.0)
    assert verdict.phase is Phase.BACKOFF
    assert verdict.delay is not None
    assert verdict.delay <= 0.24
    assert verdict.history.total == 7


def test_ends_far_apart_are_no_crash_loop() -> None:
    history = History()
    for number in range(20):
        verdict = end(history, now=number * 20.0, ran=19.0)
        history = verdict.history
        assert verdict.phase is Phase.BACKOFF
    assert len(history.recent) <= LIMITS.intensity


@given(st.lists(st.tuples(st.floats(0, 120), st.integers(-15, 3)), max_size=80), st.integers())
def test_no_delay_is_over_the_cap_and_nothing_grows(runs: list[tuple[float, int]], seed: int) -> None:
    history, now, rng = History(), 0.0, random.Random(seed)
    for ran, code in runs:
        now += ran
        verdict = after_end(history, Restart.ALWAYS, code, now=now, ran=ran, limits=LIMITS, rng=rng)
        assert verdict.delay is not None
        assert 0 < verdict.delay <= LIMITS.restart_cap
        now += verdict.delay
        history = verdict.history
        assert len(history.recent) <= LIMITS.intensity
