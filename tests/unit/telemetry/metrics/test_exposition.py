"""Pages of metrics: what is read of them, and what is refused as a whole."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.telemetry.metrics.exposition import Malformed, labels_of, page_of
from atoll.telemetry.metrics.names import Kind

TEXT = r"""# HELP http_requests_total Requests: \\ and \n.
# TYPE http_requests_total counter
http_requests_total{method="post",path="/a b}{#,\"x\"\\ \n"} 1027 1395066363000
http_requests_total{method="get"}	3
# TYPE took histogram
took_bucket{le="0.5",} 1
took_bucket{le="+Inf"} 2
took_sum 0.7
took_count 2

temperature -3.5e-1
odd NaN
"""
OPEN = """# TYPE orders counter
# UNIT took seconds
# TYPE took histogram
orders_total{a="x # {y"} 5 1520879607.789 # {trace_id="abc"} 0.5 1520879607.5
took_bucket{le="+Inf"} 2 # {trace_id="d"} 0.25
# EOF
"""


def test_a_page_of_the_text_format_is_read() -> None:
    page = page_of(TEXT, openmetrics=False)
    assert [(sample.value, sample.at) for sample in page.samples[:6]] == [
        (1027.0, 1395066363000), (3.0, None), (1.0, None), (2.0, None), (0.7, None), (2.0, None)
    ]  # fmt: skip
    assert labels_of(page.samples[0].series) == (
        "http_requests_total", {"method": "post", "path": '/a b}{#,"x"\\ \n'}
    )  # fmt: skip
    assert math.isnan(page.samples[-1].value)
    family = page.family("http_requests_total")
    assert (family.kind, family.help) == (Kind.COUNTER, "Requests: \\ and \n.")
    assert page.family("took_bucket").name == "took"
    assert page.family("temperature").kind is Kind.UNKNOWN


def test_openmetrics_has_exemplars_units_and_times_in_seconds() -> None:
    page = page_of(OPEN, openmetrics=True)
    first, second = page.samples
    assert (first.value, first.at) == (5.0, 1520879607789)
    assert first.example is not None
    assert (first.example.labels, first.example.value, first.example.at) == ({"trace_id": "abc"}, 0.5, 1520879607500)
    assert labels_of(first.series) == ("orders_total", {"a": "x # {y"})
    assert second.example is not None
    assert page.family("took_bucket").unit == "seconds"
    assert page.family("orders_total").kind is Kind.COUNTER


@pytest.mark.parametrize(
    "line",
    ["no_value", 'a{b="c" 1', "a 1 2 3", "a one", "a 1_000", "{} ", 'a{b="c"}1', "a 1 x", "a 1 NaN", "<html>", "a 1 #"],
)  # fmt: skip
def test_a_page_with_a_line_that_cannot_be_read_is_refused_with_the_number_of_the_line(line: str) -> None:
    with pytest.raises(Malformed, match="line 2"):
        page_of(f"up 1\n{line}\n", openmetrics=False)


def test_openmetrics_without_its_end_or_with_something_behind_it_is_refused() -> None:
    with pytest.raises(Malformed, match="no # EOF"):
        page_of("up 1\n", openmetrics=True)
    with pytest.raises(Malformed, match="follows"):
        page_of("up 1\n# EOF\nup 2\n", openmetrics=True)


def test_more_samples_than_the_limit_are_refused() -> None:
    with pytest.raises(Malformed, match="more than"):
        page_of("a 1\n" * 50_001, openmetrics=False)


@pytest.mark.parametrize(
    "series", ['a{__name__="b"}', 'a{b="c"', '{"not.legacy"}', "a{" + ",".join(f'l{n}="x"' for n in range(200)) + "}"]
)
def test_series_without_a_usable_name_or_with_too_many_labels_cannot_be_read(series: str) -> None:
    with pytest.raises(ValueError, match="the series"):
        labels_of(series)


@given(st.text(alphabet='abc{}"\\\n#=, 1.e+-\t\x00é', max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_text_makes_reading_fail_in_another_way(text: str) -> None:
    for openmetrics in (False, True):
        try:
            page = page_of(text, openmetrics=openmetrics)
        except Malformed:
            continue
        for sample in page.samples:
            try:
                name, labels = labels_of(sample.series)
            except ValueError:
                continue
            assert name
            assert all(labels.values())


def test_an_open_quote_costs_no_more_time_than_its_length() -> None:
    with pytest.raises(Malformed):
        page_of('a{b="' + 'x\\"' * 100_000 + "\n", openmetrics=False)
