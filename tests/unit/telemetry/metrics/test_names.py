"""Names as Prometheus' OTLP receiver gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.telemetry.metrics.names import Kind, is_metric, label_name, metric_name, translated


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        ("http.server.request.duration", "s", Kind.HISTOGRAM, "http_server_request_duration_seconds"),
        ("system.io", "By", Kind.COUNTER, "system_io_bytes_total"),
        ("system.io.bytes", "By", Kind.COUNTER, "system_io_bytes_total"),
        ("system.total.io", "By", Kind.COUNTER, "system_io_bytes_total"),
        ("cpu.utilization", "1", Kind.GAUGE, "cpu_utilization_ratio"),
        ("requests", "1", Kind.COUNTER, "requests_total"),
        ("requests", "{request}", Kind.COUNTER, "requests_total"),
        ("speed", "m/s", Kind.GAUGE, "speed_meters_per_second"),
        ("memory", "By/{op}", Kind.GAUGE, "memory_bytes"),
        ("memory", "GiBy", Kind.GAUGE, "memory_gibibytes"),
        ("broken", "test.trip/min", Kind.GAUGE, "broken_test_trip_per_min"),
        ("5xx.count", "", Kind.GAUGE, "_5xx_count"),
        ("a__b--c", "", Kind.GAUGE, "a_b_c"),
        ("a:b", "", Kind.GAUGE, "a:b"),
        ("héé", "", Kind.GAUGE, "h"),
        ("¤", "", Kind.GAUGE, ""),
        ("", "s", Kind.GAUGE, ""),
    ],
)
def test_a_metric_is_named_as_prometheus_names_it(name: str, unit: str, kind: Kind, expected: str) -> None:
    assert metric_name(name, unit, kind) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("http.method", "http_method"), ("2nd", "key_2nd"), ("_private", "key_private"), ("__name__", "key_name_"),
        ("a..b", "a_b"), ("é", ""), ("", ""), ("ok", "ok"),
    ],
)  # fmt: skip
def test_a_label_is_named_as_prometheus_names_it_and_never_as_a_reserved_one(name: str, expected: str) -> None:
    assert label_name(name) == expected


def test_attributes_whose_names_fall_together_are_joined_in_order() -> None:
    assert translated([("a_b", "2"), ("a.b", "1"), ("a-b", "0")], {}) == {"a_b": "0;1;2"}


@given(st.text(max_size=40), st.text(max_size=10), st.sampled_from(Kind))
def test_every_name_is_of_the_grammar(name: str, unit: str, kind: Kind) -> None:
    made = metric_name(name, unit, kind)
    assert not made or is_metric(made)
    label = label_name(name)
    assert not label.startswith("__")
    assert not label or label.replace("_", "a").isalnum()
