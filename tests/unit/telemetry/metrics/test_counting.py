"""Counters out of what was added in each ten seconds: increases are exact, over midnight and over idle times."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.telemetry.metrics.counting import DAY, IDLE, MINUTE, TEN, first_needed, instants, totals

MIDNIGHT = 20_000 * DAY


def counter(rows: dict[int, float], start: int, end: int) -> dict[int, float]:
    """The samples between two times of what was added in the ten seconds that begin at these times."""
    began = np.array(sorted(rows), np.int64)
    ends = began + TEN
    times = instants(ends, start, end)
    return dict(
        zip(
            times.tolist(),
            totals(ends, np.array([rows[at] for at in began.tolist()]), times, end).tolist(),
            strict=True,
        )
    )


def increase(samples: dict[int, float]) -> float:
    """As Prometheus adds it up: what is less than before has begun anew."""
    values = [samples[at] for at in sorted(samples)]
    return sum(new - old if new >= old else new for old, new in pairwise(values))


def test_a_counter_begins_with_a_zero_where_its_first_request_came() -> None:
    at = MIDNIGHT + 3_600_000
    assert counter({at: 5.0}, at - MINUTE, at + 30_000) == {
        at: 0.0, at + TEN: 5.0, at + 2 * TEN: 5.0, at + 3 * TEN: 5.0
    }  # fmt: skip


def test_what_came_before_the_time_that_is_asked_for_is_counted() -> None:
    at = MIDNIGHT + 3_600_000
    assert counter({at - MINUTE: 7.0, at: 1.0}, at, at + TEN) == {at: 7.0, at + TEN: 8.0}


def test_ten_seconds_that_are_not_over_count_at_the_end_of_what_is_asked_for() -> None:
    at = MIDNIGHT + 3_600_000
    assert counter({at: 5.0}, at, at + 4_000) == {at: 0.0, at + 4_000: 5.0}


def test_a_counter_begins_anew_after_midnight_and_a_zero_says_so() -> None:
    rows = {MIDNIGHT - TEN: 3.0, MIDNIGHT: 5.0}
    samples = counter(rows, MIDNIGHT - TEN, MIDNIGHT + TEN)
    assert samples == {MIDNIGHT - TEN: 0.0, MIDNIGHT: 3.0, MIDNIGHT + 1: 0.0, MIDNIGHT + TEN: 5.0}
    assert increase(samples) == 8.0


def test_a_series_ends_an_hour_after_its_last_request_and_goes_on_with_the_next() -> None:
    at = MIDNIGHT + 3_600_000
    samples = counter({at: 5.0, at + 3 * IDLE: 2.0}, at, at + 4 * IDLE)
    assert at + TEN + IDLE in samples
    assert at + 2 * TEN + IDLE not in samples
    assert samples[at + 3 * IDLE + TEN] == 7.0


def test_of_more_than_a_day_there_is_a_sample_a_minute() -> None:
    at = MIDNIGHT + 3_600_000
    samples = counter({at + step * TEN: 1.0 for step in range(60)}, at, at + DAY + TEN)
    assert {
        (after - before) % MINUTE for before, after in zip(list(samples)[1:20], list(samples)[2:21], strict=True)
    } == {0}


@given(
    rows=st.dictionaries(st.integers(0, 2 * DAY // TEN), st.integers(1, 100), min_size=1, max_size=40),
    window=st.tuples(st.integers(0, 2 * DAY // TEN), st.integers(1, DAY // TEN)),
)
@settings(max_examples=60, deadline=None)
def test_the_increase_between_two_times_is_what_was_added_between_them(
    rows: dict[int, int], window: tuple[int, int]
) -> None:
    start = MIDNIGHT - DAY + window[0] * TEN
    end = start + window[1] * TEN
    added = {MIDNIGHT - DAY + slot * TEN: float(count) for slot, count in rows.items()}
    known = {at: count for at, count in added.items() if first_needed(start) <= at < end}
    if not known:
        return
    samples = counter(known, start, end)
    within = {at: count for at, count in known.items() if at >= start}
    gaps = sorted([*known, end])
    if all(after - before <= IDLE for before, after in pairwise(gaps)):
        assert increase(samples) == sum(within.values())
    assert all(value >= 0 for value in samples.values())
