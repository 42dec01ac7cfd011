"""Too many series: nobody takes all, totals stay right, memory stays bounded, and it shows (faults G5)."""

from __future__ import annotations

import random

from atoll.telemetry.metrics.book import IDLE
from atoll.telemetry.metrics.cardinality import Cardinality, Room
from atoll.telemetry.metrics.points import Reason
from atoll.telemetry.metrics.series import Histogram
from tests.unit.telemetry.metrics import otlp_bodies as otlp
from tests.unit.telemetry.metrics.otlp_bodies import DELTA, NOW
from tests.unit.telemetry.metrics.stage import Desk

OVERFLOW = "{otel_metric_overflow=true}"


def users(count: int, each: int, *, at: int = NOW, temporality: int = 2, service: str = "orders") -> bytes:
    points = [otlp.number(each, at, user=str(no)) for no in range(count)]
    return otlp.body(otlp.counter("orders", *points, temporality=temporality), resource={"service.name": service})


def total(values: dict[str, list[float | str | Histogram]], name: str) -> float:
    """The newest value of every series of a metric together."""
    return sum(float(str(samples[-1])) for series, samples in values.items() if series.partition("{")[0] == name)


def test_counters_beyond_the_limit_add_up_in_the_overflow_series() -> None:
    desk = Desk(limit=100)
    assert desk.take(users(200, 3)) == {}
    values = desk.values()
    assert total(values, "orders_total") == 600.0
    assert len(values) == 10 + 1  # a tenth of the limit is one metric's share
    assert values["orders_total" + OVERFLOW] == [190 * 3.0]


def test_totals_stay_right_when_counters_grow_or_begin_anew() -> None:
    desk = Desk(limit=50)
    desk.take(users(60, 3))
    desk.take(users(60, 5, at=NOW + 10))
    assert total(desk.values(), "orders_total") == 300.0
    desk.take(users(60, 1, at=NOW + 20))  # all of them have begun anew
    assert desk.values()["orders_total" + OVERFLOW] == [55 * 5.0 + 55 * 1.0]


def test_differences_beyond_the_limit_add_up() -> None:
    desk = Desk(limit=50)
    for step in range(3):
        desk.take(users(60, 2, at=NOW + step, temporality=DELTA))
    assert total(desk.values(), "orders_total") == 360.0


def test_histograms_beyond_the_limit_add_up_bucket_by_bucket() -> None:
    desk = Desk(limit=100)
    points = [otlp.buckets([1, 2], [1.0], 4.0, user=str(no)) for no in range(30)]
    assert desk.take(otlp.body(otlp.histogram("took", *points))) == {}
    values = desk.values()
    own = sum(1 for name in values if name.startswith("took_seconds_count{user"))
    assert values["took_seconds_bucket{le=1,otel_metric_overflow=true}"] == [30.0 - own]
    assert values["took_seconds_bucket{le=+Inf,otel_metric_overflow=true}"] == [3.0 * (30 - own)]
    assert total(values, "took_seconds_count") == 90.0
    assert total(values, "took_seconds_sum") == 120.0


def test_native_histograms_beyond_the_limit_add_up_also_when_they_grow() -> None:
    desk = Desk(limit=100)
    for step, count in enumerate((1, 4)):
        points = [otlp.powers([count, 1], 0, 2, 2.0 * count, NOW + step, user=str(no)) for no in range(30)]
        assert desk.take(otlp.body(otlp.exponential("took", *points))) == {}
    last = {name: samples[-1] for name, samples in desk.values().items()}
    assert sum(one.count for one in last.values() if isinstance(one, Histogram)) == 150.0
    overflow = last["took_seconds" + OVERFLOW]
    assert isinstance(overflow, Histogram)
    assert overflow.positive.tolist() == [20 * 4.0, 20.0]


def test_an_overflow_series_never_goes_back_in_time() -> None:
    desk = Desk(limit=20)
    for _ in range(3):
        desk.take(users(30, 2, temporality=DELTA))
    times = [at for at, _ in desk.written()["orders_total" + OVERFLOW]]
    assert times == sorted(set(times))


def test_one_service_does_not_take_the_room_of_the_others() -> None:
    desk = Desk(limit=400)
    for no in range(200):
        points = [otlp.number(1.0, user=str(one)) for one in range(100)]
        desk.take(otlp.body(otlp.gauge(f"level.{no}", *points), resource={"service.name": "attacker"}))
    desk.values()
    assert desk.book.cardinality.series <= 100
    desk.take(otlp.body(otlp.gauge("honest", otlp.number(7.0)), resource={"service.name": "honest"}))
    assert desk.values() == {"honest": [7.0]}


def test_random_metric_names_are_refused_beyond_their_share_and_counted() -> None:
    desk = Desk(limit=1000)
    refused = desk.take(otlp.body(*(otlp.gauge(f"m{no}", otlp.number(1.0)) for no in range(500))))
    assert refused == {Reason.SERIES: 480}
    assert desk.book.cardinality.names == 20
    assert desk.book.cardinality.refused == 480


def test_random_service_names_share_one_overflow_series() -> None:
    desk = Desk(limit=200)
    for no in range(300):
        desk.take(otlp.body(otlp.counter("orders", otlp.number(1)), resource={"service.name": f"s{no}"}))
    values = desk.values()
    assert values["orders_total" + OVERFLOW][-1] == 290.0
    assert len(desk.book) == 11


def test_what_overflowed_is_told_by_name() -> None:
    desk = Desk(limit=100)
    desk.take(users(200, 1))
    assert desk.book.cardinality.worst() == [("orders_total", 190)]


def test_silent_series_give_their_room_back() -> None:
    desk = Desk(limit=100)
    desk.take(users(200, 1))
    desk.take(otlp.body(otlp.gauge("other", otlp.number(1.0))), now=NOW + IDLE + 6 * 60_000)
    assert len(desk.book) == 1
    cardinality = desk.book.cardinality
    assert (cardinality.series, cardinality.reserve, cardinality.names) == (1, 0, 1)


def test_members_of_an_overflow_series_are_remembered_up_to_a_limit_and_refused_beyond() -> None:
    desk = Desk(limit=100)
    refused = desk.take(users(1000, 1))
    assert refused == {Reason.SERIES: 1000 - 10 - 200}
    assert len(desk.book.sources) == 200
    assert desk.take(users(1000, 2, at=NOW + 1)) == refused


def test_the_count_of_series_is_right_after_any_order_of_taking_and_giving() -> None:
    cardinality = Cardinality(50)
    chance = random.Random(1)
    held: list[tuple[str, str, int]] = []
    for _ in range(2000):
        if held and chance.random() < 0.5:
            cardinality.give(*held.pop(chance.randrange(len(held))))
            continue
        one = (f"m{chance.randrange(5)}", f"s{chance.randrange(3)}", chance.choice((1, 4)))
        if cardinality.room(*one) is Room.OWN:
            cardinality.take(*one)
            held.append(one)
    assert cardinality.series == sum(weight for _, _, weight in held) <= 50
    for one in held:
        cardinality.give(*one)
    assert (cardinality.series, cardinality.names) == (0, 0)
