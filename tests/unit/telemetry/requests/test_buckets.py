from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.telemetry.requests.buckets import BOUNDS, cumulative, quantile, upper


def test_the_schema_has_the_same_bounds() -> None:
    text = files("atoll.telemetry").joinpath("schema", "request_views.sql").read_text("utf-8")
    assert f"roundDown(took - (took > 0), {list(BOUNDS)})" in text


def test_bounds_that_people_ask_for_are_bounds() -> None:
    bounds = {upper(lower) / 1e6 for lower in BOUNDS}
    assert {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf")} <= bounds


def test_prometheus_counts_up_to_each_bound() -> None:
    pairs = cumulative({0: 2, 4000: 3, BOUNDS[-1]: 1})
    assert dict(pairs)[0.0001] == 2
    assert dict(pairs)[0.004] == 2
    assert dict(pairs)[0.005] == 5
    assert pairs[-1] == (float("inf"), 6)
    assert len(pairs) == len(BOUNDS)


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({}, 0.5, 0.0),
        ({4000: 10}, 0.5, 4500.0),
        ({4000: 10}, 1.0, 5000.0),
        ({1000: 1, 4000: 1}, 0.5, 1250.0),
        ({BOUNDS[-1]: 1}, 0.99, 1e8),
        ({1000: 0, 2000: 4}, 0.0, 2000.0),
    ],
)
def test_a_quantile_lies_in_its_bucket(buckets: dict[int, int], share: float, expected: float) -> None:
    assert quantile(buckets, share) == pytest.approx(expected)


@given(st.lists(st.integers(1, 90_000_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_off_by_no_more_than_a_bucket(times: list[int], share: float) -> None:
    counts: dict[int, int] = {}
    for time in times:
        lower = max(bound for bound in BOUNDS if bound < time)
        counts[lower] = counts.get(lower, 0) + 1
    exact = sorted(times)[max(0, -(-len(times) * share // 1).__int__() - 1)]
    lower = max(bound for bound in BOUNDS if bound < exact)
    assert lower <= quantile(counts, share) <= upper(lower)
