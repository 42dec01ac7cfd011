"""OTLP's points as Prometheus' series: what is written for each kind, what is refused, and that it adds up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import BadRequest
from atoll.telemetry.metrics.points import Reason
from atoll.telemetry.metrics.series import Histogram
from tests.unit.telemetry.metrics import otlp_bodies as otlp
from tests.unit.telemetry.metrics.otlp_bodies import DELTA, NOW
from tests.unit.telemetry.metrics.stage import STALE, Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_monotonic_sum_is_a_counter(desk: Desk) -> None:
    assert desk.take(otlp.body(otlp.counter("orders.placed", otlp.number(7)))) == {}
    assert desk.values() == {"orders_placed_total": [7.0]}


def test_a_sum_that_may_fall_is_a_gauge(desk: Desk) -> None:
    desk.take(otlp.body(otlp.level("queue.size", otlp.number(-2, unit="x"))))
    assert desk.values() == {"queue_size{unit=x}": [-2.0]}


def test_a_gauge_may_be_anything_but_the_mark_of_staleness(desk: Desk) -> None:
    points = [otlp.number(value, no=str(no)) for no, value in enumerate((1.5, math.nan, math.inf, -math.inf))]
    assert desk.take(otlp.body(otlp.gauge("level", *points))) == {}
    values = desk.values()
    assert values["level{no=0}"] == [1.5]
    assert math.isnan(float(str(values["level{no=1}"][0])))
    assert values["level{no=2}"] == [math.inf]


def test_a_stale_nan_that_a_sender_made_up_is_an_ordinary_nan(desk: Desk) -> None:
    point = otlp.number(0.0)
    raw = otlp.body(otlp.gauge("level", point))
    assert b"\x21" + bytes(8) in raw
    forged = raw.replace(b"\x21" + bytes(8), b"\x21" + (0x7FF0000000000002).to_bytes(8, "little"))
    desk.take(forged)
    assert str(desk.values()["level"][0]) == "nan"


def test_whose_metrics_they_are_stands_in_service_job_and_instance(desk: Desk) -> None:
    said = {"service.name": "pay", "service.namespace": "shop", "service.instance.id": "pay-2", "host.name": "h"}
    desk.take(otlp.body(otlp.gauge("level", otlp.number(1.0, job="mine", service="x")), resource=said))
    labels = {one.name: one.labels for one in desk.book.rows.series}
    own = {"service": "pay", "job": "shop/pay", "instance": "pay-2"}
    assert labels["level"] == {**own, "exported_job": "mine", "exported_service": "x"}
    assert labels["target_info"] == {**own, "host_name": "h"}


def test_differences_are_added_up(desk: Desk) -> None:
    for step, value in enumerate((3, 4, 5)):
        desk.take(otlp.body(otlp.counter("orders", otlp.number(value, NOW + step), temporality=DELTA)))
    assert desk.values() == {"orders_total": [3.0, 7.0, 12.0]}


def test_a_difference_that_comes_twice_is_counted_once(desk: Desk) -> None:
    same = otlp.body(otlp.counter("orders", otlp.number(3), temporality=DELTA))
    assert desk.take(same) == {}
    assert desk.take(same) == {Reason.DUPLICATE: 1}
    assert desk.values() == {"orders_total": [3.0]}


def test_a_total_that_comes_twice_is_the_same_total(desk: Desk) -> None:
    same = otlp.body(otlp.counter("orders", otlp.number(3)))
    assert (desk.take(same), desk.take(same)) == ({}, {})


def test_a_new_start_is_shown_by_a_zero_so_that_no_increase_is_lost(desk: Desk) -> None:
    desk.take(otlp.body(otlp.counter("orders", otlp.number(5, NOW, start=NOW - 9000))))
    desk.take(otlp.body(otlp.counter("orders", otlp.number(6, NOW + 9000, start=NOW + 4000))))
    assert desk.written()["orders_total"] == [(0, 5.0), (4000, 0.0), (9000, 6.0)]


def test_a_histogram_has_buckets_that_count_up(desk: Desk) -> None:
    point = otlp.buckets([1, 0, 2, 4], [0.005, 1.0, 25.0], 77.5, route="/a", le="mine")
    desk.take(otlp.body(otlp.histogram("took", point)))
    assert desk.values() == {
        "took_seconds_bucket{exported_le=mine,le=0.005,route=/a}": [1.0],
        "took_seconds_bucket{exported_le=mine,le=1,route=/a}": [1.0],
        "took_seconds_bucket{exported_le=mine,le=25,route=/a}": [3.0],
        "took_seconds_bucket{exported_le=mine,le=+Inf,route=/a}": [7.0],
        "took_seconds_count{exported_le=mine,route=/a}": [7.0],
        "took_seconds_sum{exported_le=mine,route=/a}": [77.5],
    }


def test_a_histogram_without_bounds_or_sum_has_the_one_bucket(desk: Desk) -> None:
    desk.take(otlp.body(otlp.histogram("took", otlp.buckets([], [], None, count=9))))
    assert desk.values() == {"took_seconds_bucket{le=+Inf}": [9.0], "took_seconds_count": [9.0]}


def test_differences_of_histograms_are_added_up(desk: Desk) -> None:
    for step in (0, 1):
        point = otlp.buckets([1, 2], [1.0], 5.0, NOW + step)
        desk.take(otlp.body(otlp.histogram("took", point, temporality=DELTA)))
    assert desk.values() == {
        "took_seconds_bucket{le=1}": [1.0, 2.0], "took_seconds_bucket{le=+Inf}": [3.0, 6.0],
        "took_seconds_count": [3.0, 6.0], "took_seconds_sum": [5.0, 10.0],
    }  # fmt: skip


def test_an_exponential_histogram_is_a_native_one(desk: Desk) -> None:
    desk.take(otlp.body(otlp.exponential("took", otlp.powers([1, 2], -1, 3, 4.5, zero=7))))
    (one,) = desk.values()["took_seconds"]
    assert isinstance(one, Histogram)
    assert (one.schema, one.count, one.zero_count, one.positive_offset) == (3, 10.0, 7.0, 0)
    assert one.positive.tolist() == [1.0, 2.0]


def test_a_finer_scale_than_there_is_becomes_coarser(desk: Desk) -> None:
    desk.take(otlp.body(otlp.exponential("took", otlp.powers([1, 2, 4, 8], 3, 9, 4.5))))
    (one,) = desk.values()["took_seconds"]
    assert isinstance(one, Histogram)
    assert (one.schema, one.positive_offset, one.positive.tolist()) == (8, 2, [1.0, 6.0, 8.0])


def test_differences_of_native_histograms_are_added_up_at_the_coarser_scale(desk: Desk) -> None:
    for step, point in enumerate((otlp.powers([1, 1], 0, 1, 1.0, NOW), otlp.powers([1], 0, 0, 2.0, NOW + 1))):
        assert desk.take(otlp.body(otlp.exponential("took", point, temporality=DELTA))) == {}, step
    last = desk.values()["took_seconds"][-1]
    assert isinstance(last, Histogram)
    assert (last.schema, last.count, last.sum, last.positive.tolist()) == (0, 3.0, 3.0, [3.0])


def test_a_summary_has_its_quantiles(desk: Desk) -> None:
    desk.take(otlp.body(otlp.summary("took", {0.5: 1.5, 0.99: 9.0}, 10, 30.0)))
    assert desk.values() == {
        "took_count": [10.0], "took_sum": [30.0], "took{quantile=0.5}": [1.5], "took{quantile=0.99}": [9.0]
    }  # fmt: skip


def test_no_recorded_value_ends_every_series_of_the_point(desk: Desk) -> None:
    ended = otlp.buckets([0, 0], [1.0], 0.0, NOW + 5)
    ended.flags = 1
    desk.take(
        otlp.body(otlp.counter("orders", otlp.number(1)), otlp.histogram("took", otlp.buckets([1, 1], [1.0], 2.0)))
    )
    desk.values()
    desk.take(otlp.body(otlp.counter("orders", otlp.number(0, NOW + 5, flags=1)), otlp.histogram("took", ended)))
    assert {name: values for name, values in desk.values().items() if values != [STALE]} == {}


def test_a_negative_count_and_what_is_no_number_are_refused_in_sums_alone(desk: Desk) -> None:
    points = [otlp.number(value, no=str(no)) for no, value in enumerate((-1.0, math.nan, math.inf, 4.0))]
    assert desk.take(otlp.body(otlp.counter("orders", *points))) == {Reason.VALUE: 3}
    assert desk.values() == {"orders_total{no=3}": [4.0]}


@pytest.mark.parametrize(
    ("counts", "bounds", "count"),
    [
        ([1, 2], [1.0, 2.0], 3),
        ([1, 2, 3], [2.0, 1.0], 6),
        ([1, 2, 3], [1.0, 1.0], 6),
        ([1, 2], [math.nan], 3),
        ([1, 2], [math.inf], 3),
        ([1, 2], [1.0], 4),
        ([0] * 601, [float(no) for no in range(600)], 0),
    ],
)
def test_buckets_that_do_not_fit_together_are_refused(
    desk: Desk, counts: list[int], bounds: list[float], count: int
) -> None:
    body = otlp.body(otlp.histogram("took", otlp.buckets(counts, bounds, 1.0, count=count)))
    assert desk.take(body) == {Reason.BUCKETS: 1}
    assert desk.values() == {}


def test_an_exponential_histogram_that_cannot_be_held_is_refused(desk: Desk) -> None:
    far = otlp.powers([1], 0, -5, 1.0)
    wrong = otlp.powers([1], 0, 0, 1.0)
    wrong.count = 5
    wide = otlp.powers([1] * 1001, 0, 0, 1.0)
    for point in (far, wrong, wide):
        assert desk.take(otlp.body(otlp.exponential("took", point))) == {Reason.BUCKETS: 1}


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (1, Reason.TOO_OLD),
        (NOW - 31 * 86_400_000, Reason.TOO_OLD),
        (NOW + 601_000, Reason.FUTURE),
        (7_258_118_400_000, Reason.FUTURE),
    ],
)
def test_times_far_away_are_refused(desk: Desk, at: int, reason: Reason) -> None:
    assert desk.take(otlp.body(otlp.gauge("level", otlp.number(1.0, at)))) == {reason: 1}


def test_a_point_without_a_time_is_of_the_time_of_its_arrival(desk: Desk) -> None:
    desk.take(otlp.body(otlp.gauge("level", otlp.number(1.0, 0))))
    assert desk.written()["level"] == [(0, 1.0)]


def test_two_points_of_one_series_at_one_time_are_one_too_many(desk: Desk) -> None:
    body = otlp.body(otlp.gauge("level", otlp.number(1.0, a="x"), otlp.number(2.0, a="x"), otlp.number(3.0, a="y")))
    assert desk.take(body) == {Reason.DUPLICATE: 1}
    assert desk.values() == {"level{a=x}": [1.0], "level{a=y}": [3.0]}


def test_attributes_in_another_order_are_the_same_series(desk: Desk) -> None:
    desk.take(otlp.body(otlp.counter("orders", otlp.number(1, a="x", b="y"), temporality=DELTA)))
    desk.take(otlp.body(otlp.counter("orders", otlp.number(2, NOW + 1, b="y", a="x"), temporality=DELTA)))
    assert desk.values() == {"orders_total{a=x,b=y}": [1.0, 3.0]}


def test_ten_thousand_attributes_and_a_name_of_nothing_are_refused(desk: Desk) -> None:
    many = otlp.number(1.0)
    many.attributes.extend(otlp.attributes({f"a{no}": "x" for no in range(10_000)}))
    assert desk.take(otlp.body(otlp.gauge("level", many))) == {Reason.ATTRIBUTES: 1}
    assert desk.take(otlp.body(otlp.gauge("¤¤", otlp.number(1.0)), otlp.gauge("x" * 600, otlp.number(1.0)))) == {
        Reason.NAME: 2
    }
    assert desk.take(otlp.body(otlp.counter("x", otlp.number(1), temporality=0))) == {Reason.TEMPORALITY: 1}


def test_a_value_of_a_megabyte_is_cut_and_hostile_text_is_kept_as_data(desk: Desk) -> None:
    hostile = "a'\"\\\n\x00\x1b[31m${x}%[;"
    desk.take(otlp.body(otlp.gauge("level", otlp.number(1.0, big="x" * (1 << 20), __name__="up", bad=hostile))))
    (labels,) = [one.labels for one in desk.book.rows.series if one.name == "level"]
    assert len(labels["big"]) == 2048
    assert labels["bad"] == hostile
    assert labels["key_name_"] == "up"


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"not protobuf at all", b"\x0a\x05abc"])
def test_what_is_no_request_is_refused_as_a_whole(desk: Desk, body: bytes) -> None:
    with pytest.raises(BadRequest):
        desk.take(body)


def test_an_empty_request_is_fine(desk: Desk) -> None:
    assert desk.take(b"") == {}
    assert desk.written() == {}


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_bytes_make_it_fail_in_another_way(raw: bytes) -> None:
    desk = Desk()
    try:
        desk.take(otlp.body(otlp.gauge("level", otlp.number(1.0))) + raw)
    except BadRequest:
        return
    desk.book.rows.inserts()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_accepted_and_rejected_are_all_that_was_sent(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.one_of(st.floats(), st.integers(-5, 5)), max_size=8))
    times = data.draw(st.lists(st.sampled_from([NOW, NOW, NOW + 1, 1, NOW * 2]), min_size=8, max_size=8))
    points = [otlp.number(value, at) for value, at in zip(values, times, strict=False)]
    desk = Desk(limit=5)
    desk.book.begin(NOW)
    from atoll.telemetry.metrics.otlp import Body

    accepted, reasons = Body(desk.book, oldest=30 * 86_400_000).take(otlp.body(otlp.counter("orders", *points)))
    assert accepted + sum(reasons.values()) == len(points)
