"""Arithmetic of native histograms: sums and differences over resolutions and zero buckets lose no observation."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.telemetry.metrics.histograms import BUCKETS_LIMIT, added, converted
from atoll.telemetry.metrics.series import Histogram


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    positive = draw(st.lists(st.integers(0, 9), max_size=12))
    negative = draw(st.lists(st.integers(0, 9), max_size=12))
    zero = draw(st.integers(0, 9))
    made = converted(
        scale=draw(st.integers(-4, 12)),
        count=float(sum(positive) + sum(negative) + zero),
        sum=draw(st.floats(-1e6, 1e6)),
        zero_threshold=draw(st.sampled_from([0.0, 0.001, 1.0])),
        zero_count=float(zero),
        positive=(draw(st.integers(-40, 40)), np.array(positive, np.float64)),
        negative=(draw(st.integers(-40, 40)), np.array(negative, np.float64)),
    )
    assert made is not None
    return made


def inside(histogram: Histogram) -> float:
    return float(histogram.zero_count + histogram.positive.sum() + histogram.negative.sum())


@given(histograms(), histograms())
@settings(max_examples=150, deadline=None)
def test_a_sum_has_every_observation_of_both(one: Histogram, other: Histogram) -> None:
    both = added(one, other)
    if both is None:
        return
    assert inside(both) == inside(one) + inside(other) == both.count
    assert both.schema == min(one.schema, other.schema)


@given(histograms(), histograms())
@settings(max_examples=100, deadline=None)
def test_what_was_added_can_be_taken_away(one: Histogram, other: Histogram) -> None:
    both = added(one, other)
    if both is None:
        return
    back = added(both, other, sign=-1)
    assert back is not None
    assert (inside(back), back.count) == (inside(one), one.count)


def test_a_coarser_bucket_is_the_two_finer_ones_below_its_bound() -> None:
    one = Histogram(schema=1, count=4, sum=1.0, positive_offset=1, positive=np.array([1.0, 1.0, 1.0, 1.0]))
    other = Histogram(schema=0, count=0, sum=0.0)
    both = added(one, other)
    assert both is not None
    assert (both.positive_offset, both.positive.tolist()) == (1, [2.0, 2.0])


def test_buckets_far_apart_are_refused_instead_of_filling_memory() -> None:
    near, far = (Histogram(schema=8, count=1, sum=0, positive_offset=at, positive=np.ones(1)) for at in (0, 10**9))
    assert added(near, far) is None
    many = (0, np.ones(BUCKETS_LIMIT + 1))
    none = (0, np.empty(0))
    assert converted(scale=0, count=1, sum=0, zero_threshold=0, zero_count=0, positive=many, negative=none) is None
