"""What expressions mean, one fact at a time; the broad comparison with Prometheus is in tests/contract."""

from __future__ import annotations

import math

import numpy as np
import pytest

from atoll.telemetry.metrics.series import STALE_NAN, Histogram
from atoll.telemetry.promql.evaluate import Bounds, needs
from atoll.telemetry.promql.parse import parse
from atoll.telemetry.promql.refusal import EvaluationError, QueryTimeout, QueryTooLarge
from atoll.telemetry.promql.value import Grid, Matrix
from tests.unit.telemetry.promql.source import Memory, native, series


def every(seconds: float, values: list[float], start: float = 0.0) -> list[tuple[float, float]]:
    return [(start + at * seconds, value) for at, value in enumerate(values)]


COUNTER = Memory([series("c", every(15, [float(at * 3) for at in range(41)]))])


def test_the_newest_sample_counts_for_five_minutes_and_not_longer() -> None:
    memory = Memory([series("x", [(1000, 7.0)])])
    assert memory.at("x", 999.999) == {}
    assert memory.at("x", 1000) == {"x": 7.0}
    assert memory.at("x", 1300) == {"x": 7.0}
    assert memory.at("x", 1300.001) == {}


def test_a_mark_of_staleness_ends_a_series_at_once_and_is_no_sample_of_a_range() -> None:
    memory = Memory([series("x", [(0, 1.0), (15, STALE_NAN), (60, 5.0)])])
    assert memory.at("x", 14) == {"x": 1.0}
    assert memory.at("x", 15) == {}
    assert memory.at("x", 59) == {}
    assert memory.at("x", 60) == {"x": 5.0}
    assert memory.at("count_over_time(x[5m])", 60) == {"": 2.0}
    assert memory.at("last_over_time(x[30s])", 20) == {"x": 1.0}


def test_another_nan_is_a_value() -> None:
    memory = Memory([series("x", [(0, math.nan)])])
    assert math.isnan(memory.at("x", 1)["x"])


def test_a_range_has_both_of_its_ends() -> None:
    assert COUNTER.at("count_over_time(c[1m])", 600) == {"": 5.0}
    assert COUNTER.at("count_over_time(c[1m])", 601) == {"": 4.0}


def test_a_rate_is_stretched_to_the_ends_of_its_range() -> None:
    assert COUNTER.at("rate(c[1m])", 600) == {"": pytest.approx(0.2)}
    assert COUNTER.at("increase(c[1m])", 607) == {"": pytest.approx(12.0)}


def test_a_rate_is_stretched_by_half_a_distance_where_the_series_begins() -> None:
    memory = Memory([series("x", every(15, [100.0, 115.0, 130.0], start=300))])
    assert memory.at("increase(x[5m])", 337) == {"": pytest.approx(30 * (30 + 7.5 + 7) / 30)}


def test_a_counter_is_never_stretched_below_zero() -> None:
    memory = Memory([series("x", every(15, [1.0, 16.0, 31.0], start=300))])
    assert memory.at("increase(x[5m])", 330) == {"": pytest.approx(31.0)}


def test_a_reset_adds_what_the_counter_had_reached() -> None:
    memory = Memory([series("x", every(15, [0.0, 10.0, 20.0, 5.0, 15.0]))])
    assert memory.at("increase(x[1m])", 60) == {"": pytest.approx(35.0)}
    assert memory.at("resets(x[1m])", 60) == {"": 1.0}
    assert memory.at("delta(x[1m])", 60) == {"": pytest.approx(15.0)}


def test_a_huge_reset_long_ago_costs_later_windows_no_precision() -> None:
    values = [1e18, 0.0, *(float(at % 3) for at in range(40))]
    memory = Memory([series("x", every(15, values))])
    assert memory.at("resets(x[1m])", 15 * 41)[""] >= 1
    plain = Memory([series("x", every(15, values[30:], start=450))])
    assert memory.at("increase(x[1m])", 615) == plain.at("increase(x[1m])", 615)


def test_an_infinite_reset_spoils_its_own_windows_only() -> None:
    memory = Memory([series("x", every(15, [math.inf, *(float(at) for at in range(20))]))])
    assert memory.at("rate(x[1m])", 300) == {"": pytest.approx(1 / 15)}


def test_one_sample_has_no_rate() -> None:
    assert COUNTER.at("rate(c[14s])", 600) == {}


def test_two_series_that_cannot_be_told_apart_are_an_error() -> None:
    memory = Memory([series("a", [(0, 1.0), (15, 1.0)], x="1"), series("b", [(0, 1.0), (15, 1.0)], x="1")])
    for query in (
        'rate({x="1"}[1m])',
        '-{x="1"}',
        'abs({x="1"})',
        '{x="1"} * 2',
        'label_replace(a, "x", "", "", "") + b',
    ):
        if "label_replace" in query:
            continue
        with pytest.raises(EvaluationError, match="same labelset"):
            memory.at(query, 15)


def test_series_that_were_never_there_together_become_one() -> None:
    memory = Memory([series("a", [(0, 1.0), (15, STALE_NAN)]), series("b", [(30, 2.0)])])
    assert memory.over('{__name__=~"a|b"} * 1', 0, 30, 15) == {"": [1.0, None, 2.0]}


def test_matching_that_is_not_unique_is_an_error_that_names_the_series() -> None:
    memory = Memory(
        [series("a", [(0, 1.0)], x="1"), series("b", [(0, 1.0)], x="1", y="1"), series("b", [(0, 1.0)], x="1", y="2")]
    )
    with pytest.raises(EvaluationError, match=r'match group \{x="1"\} on the right hand-side.*y="2".*y="1"'):
        memory.at("a * on (x) b", 0)
    with pytest.raises(EvaluationError, match="must be explicit"):
        memory.at("b * on (x) a", 0)
    assert memory.at("b * on (x) group_left a", 0) == {"{x=1,y=1}": 1.0, "{x=1,y=2}": 1.0}
    with pytest.raises(EvaluationError, match="unique matches"):
        memory.at("b * on (x) group_left (y) a", 0)


def test_at_nails_a_selector_and_offset_moves_it() -> None:
    assert COUNTER.at("c @ 150", 600) == {"c": 30.0}
    assert COUNTER.at("c @ 150 offset 1m", 600) == {"c": 18.0}
    assert COUNTER.at("c offset -1m", 300) == {"c": 72.0}
    assert COUNTER.over("c @ start()", 150, 300, 75) == {"c": [30.0, 30.0, 30.0]}
    assert COUNTER.over("sum_over_time(c[1m:30s] @ end())", 150, 300, 150) == {"": [162.0, 162.0]}


def test_a_subquery_is_aligned_to_its_step_and_not_to_the_query() -> None:
    assert COUNTER.at("count_over_time(c[1m:30s])", 600) == {"": 3.0}
    assert COUNTER.at("count_over_time(c[1m:30s])", 610) == {"": 2.0}
    assert COUNTER.at("min_over_time(vector(time())[2m:1m])", 590) == {"": 480.0}


def test_a_quantile_of_buckets_is_interpolated_and_has_its_special_cases() -> None:
    def buckets(**counts: float) -> Memory:
        return Memory([series("b", [(0, count)], le=le.lstrip("b").replace("_", ".")) for le, count in counts.items()])

    good = buckets(b1=2, b2=6, b4=8, **{"+Inf": 10.0})
    assert good.at("histogram_quantile(0.4, b)", 0) == {"": 1.5}
    assert good.at("histogram_quantile(0.1, b)", 0) == {"": 0.5}
    assert good.at("histogram_quantile(0.95, b)", 0) == {"": 4.0}
    assert good.at("histogram_quantile(-1, b)", 0) == {"": -math.inf}
    assert good.at("histogram_quantile(1.1, b)", 0) == {"": math.inf}
    assert math.isnan(buckets(b1=2, b2=6).at("histogram_quantile(0.5, b)", 0)[""])
    assert math.isnan(buckets(b1=0, **{"+Inf": 0.0}).at("histogram_quantile(0.5, b)", 0)[""])
    falling = buckets(b1=5, b2=3, b3=9, **{"+Inf": 9.0})
    assert falling.at("histogram_quantile(0.5, b)", 0) == {"": 0.9}


def test_native_histograms_add_over_resolutions_and_zero_buckets() -> None:
    fine = Histogram(schema=1, count=4, sum=8.0, positive_offset=1, positive=np.array([1.0, 2.0, 1.0]))
    coarse = Histogram(
        schema=0, count=3, sum=6.0, zero_threshold=0.5, zero_count=1, positive_offset=1, positive=np.array([2.0])
    )
    memory = Memory([native("h", [(0, fine)], a="1"), native("h", [(0, coarse)], a="2")])
    assert memory.at("histogram_count(sum(h))", 0) == {"": 7.0}
    assert memory.at("histogram_sum(sum(h))", 0) == {"": 14.0}
    assert memory.at("histogram_avg(sum(h))", 0) == {"": 2.0}
    assert memory.at("histogram_fraction(-Inf, 2, sum(h))", 0) == {"": pytest.approx(6 / 7)}
    assert memory.at("histogram_count(h * 2)", 0) == {"{a=1}": 8.0, "{a=2}": 6.0}
    assert memory.at("histogram_count(h - h)", 0) == {"{a=1}": 0.0, "{a=2}": 0.0}


def test_a_histogram_that_started_anew_is_seen_in_its_buckets() -> None:
    before = Histogram(schema=0, count=5, sum=5.0, positive_offset=0, positive=np.array([5.0]))
    after = Histogram(schema=0, count=6, sum=9.0, positive_offset=0, positive=np.array([1.0, 5.0]))
    memory = Memory([native("h", [(0, before), (60, after)])])
    assert memory.at("histogram_count(increase(h[1m]))", 60) == {"": 6.0}


def test_functions_of_numbers_leave_histograms_out() -> None:
    one = Histogram(schema=0, count=5, sum=5.0, positive_offset=0, positive=np.array([5.0]))
    memory = Memory([native("h", [(0, one)]), series("h", [(0, 2.0)], a="1")])
    assert memory.at("abs(h)", 0) == {"{a=1}": 2.0}
    assert memory.at("h > 1", 0) == {"h{a=1}": 2.0}
    assert memory.at("sum(h)", 0) == {}
    assert memory.at("count(h)", 0) == {"": 2.0}


def test_topk_keeps_whole_series_with_their_names_the_greatest_first() -> None:
    memory = Memory([series("x", [(0, value)], a=str(at)) for at, value in enumerate([3.0, 9.0, math.nan, 5.0])])
    assert list(memory.at("topk(2, x)", 0)) == ["x{a=1}", "x{a=3}"]
    assert list(memory.at("bottomk(2, x)", 0)) == ["x{a=0}", "x{a=3}"]
    assert len(memory.at("topk(9, x)", 0)) == 4
    assert len(memory.at("limitk(3, x)", 0)) == 3


def test_a_mean_of_numbers_near_the_greatest_is_no_infinity() -> None:
    memory = Memory(
        [series("x", [(0, 1.7e308), (15, 1.7e308)], a="1"), series("x", [(0, 1.7e308), (15, 1.7e308)], a="2")]
    )
    assert memory.at("avg(x)", 15) == {"": pytest.approx(1.7e308)}
    assert memory.at("avg_over_time(x{a='1'}[1m])", 15) == {"{a=1}": pytest.approx(1.7e308)}


def test_mad_over_time_is_the_median_distance_from_the_median() -> None:
    memory = Memory([series("x", every(15, [4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0]))])
    assert memory.at("mad_over_time(x[2m])", 90) == {"": 1.0}


def test_what_a_query_needs_is_known_before_it_is_read() -> None:
    grid = Grid(600_000, 900_000, 15_000)
    expr = parse("sum(rate(a[1m] offset 2m)) + b @ 100 + max_over_time(c[10m:1m] offset 5m) + a + d @ end()")
    found = {selector.matchers[0].value + str(selector.offset): span for selector, span in needs(expr, grid).items()}
    assert found == {
        "a120000": (420_000, 780_000),
        "b0": (-200_000, 100_000),
        "c0": (-600_000, 600_000),
        "a0": (300_000, 900_000),
        "d0": (600_000, 900_000),
    }


def test_a_query_over_its_bounds_is_refused() -> None:
    with pytest.raises(QueryTooLarge):
        COUNTER.value("c", Grid(0, 600_000, 1), Bounds(samples=1000))
    with pytest.raises(QueryTooLarge):
        COUNTER.value("sum_over_time(c[1h:1ms])", Grid(0, 0, 1), Bounds(samples=1000))
    with pytest.raises(QueryTimeout):
        COUNTER.value("c", Grid(0, 0, 1), Bounds(ended=lambda: True))


def test_a_range_vector_is_a_value_of_an_instant_query() -> None:
    value = COUNTER.value("c[1m]", Grid(600_000, 600_000, 1))
    assert isinstance(value, Matrix)
    assert (value.range, len(value.series)) == (60_000, 1)
