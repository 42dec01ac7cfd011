"""How checks are paced: what is rendered, and that a paused instance is out in time whatever the numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.cadence import PATIENCE, Cadence, cadence, out_within
from atoll.model.checked import CHECK_FLOOR, COUNT_CEILING, DURATION_CEILING
from atoll.model.service import Check

INTERVALS = st.floats(CHECK_FLOOR, DURATION_CEILING)
FALLS = st.integers(1, COUNT_CEILING)


@pytest.mark.parametrize(
    ("interval", "fall", "expected"),
    [
        (1.0, 3, (1.0, 0.1, 0.56)),
        (1.0, 2, (1.0, 0.1, 0.4)),
        (0.5, 3, (0.5, 0.05, 0.28)),
        (2.0, 3, (2.0, 0.2, 1.0)),
        (5.0, 3, (5.0, 0.2, 1.0)),
        (30.0, 3, (30.0, 0.2, 1.0)),
    ],
)
def test_the_interval_stays_as_said_and_the_time_out_is_what_fits(
    interval: float, fall: int, expected: tuple[float, float, float]
) -> None:
    assert cadence(Check(interval=interval, fall=fall)) == pytest.approx(Cadence(*expected))


def test_where_one_failure_decides_the_answer_is_waited_for_within_the_interval() -> None:
    assert cadence(Check(interval=1.0, fall=1)) == pytest.approx((0.5048, 0.1, 0.45), abs=1e-4)
    assert cadence(Check(interval=60.0, fall=1)) == pytest.approx((55.0476, 0.2, 1.0), abs=1e-4)


@given(INTERVALS, FALLS)
def test_what_stands_still_is_out_within_fall_intervals(interval: float, fall: int) -> None:
    check = Check(interval=interval, fall=fall)
    pace = cadence(check)
    assert out_within(check) <= 0.981 * fall * interval
    assert 0.0 < pace.again <= pace.every <= interval
    assert 0.0 < pace.patience <= PATIENCE
    assert pace.every >= 0.49 * interval, "asked more than twice as often as said"


@given(INTERVALS, FALLS)
def test_a_shorter_time_out_is_only_for_want_of_room(interval: float, fall: int) -> None:
    check = Check(interval=interval, fall=fall)
    patience = cadence(check).patience
    assert patience == PATIENCE or out_within(check) >= 0.97 * fall * interval - 0.01 * fall


@given(INTERVALS, FALLS, st.floats(CHECK_FLOOR, DURATION_CEILING))
def test_a_time_out_that_was_said_stays_and_is_told(interval: float, fall: int, timeout: float) -> None:
    check = Check(interval=interval, fall=fall, timeout=timeout)
    assert cadence(check).patience == timeout
    assert cadence(check).every == interval
    assert out_within(check) >= interval + fall * timeout


@pytest.mark.parametrize("fall", [1, 2, 3, 10])
@pytest.mark.parametrize("interval", [0.1, 0.5, 1.0, 7.0])
def test_a_simulated_check_takes_out_in_time_wherever_the_stop_falls(interval: float, fall: int) -> None:
    pace = cadence(Check(interval=interval, fall=fall))
    for stop in (0.0, 0.3 * pace.every, 0.99 * pace.every):  # after the check that passed at 0
        at, failures = 1.05 * pace.every, 0
        while failures < fall:
            failures, at = failures + 1, at + pace.patience + (1.05 * pace.again if failures < fall - 1 else 0.0)
        assert at - stop <= fall * interval
