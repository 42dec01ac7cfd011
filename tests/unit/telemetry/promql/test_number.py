"""Numbers as Prometheus writes them."""

from __future__ import annotations

import math

import pytest

from atoll.telemetry.promql.format import duration, text
from atoll.telemetry.promql.number import api, literal, plain
from atoll.telemetry.promql.parse import parse


@pytest.mark.parametrize(
    ("value", "in_answers", "in_labels", "in_expressions"),
    [
        (0.0, "0", "0", "0"),
        (-0.0, "-0", "-0", "-0"),
        (1.0, "1", "1", "1"),
        (0.1, "0.1", "0.1", "0.1"),
        (1e-5, "0.00001", "0.00001", "1e-05"),
        (1e-6, "0.000001", "0.000001", "1e-06"),
        (1e-7, "1e-07", "0.0000001", "1e-07"),
        (1e20, "100000000000000000000", "100000000000000000000", "1e+20"),
        (1e21, "1e+21", "1000000000000000000000", "1e+21"),
        (-1.5e300, "-1.5e+300", "-15" + "0" * 299, "-1.5e+300"),
        (123456789.0, "123456789", "123456789", "1.23456789e+08"),
        (math.nan, "NaN", "NaN", "NaN"),
        (math.inf, "+Inf", "+Inf", "+Inf"),
        (-math.inf, "-Inf", "-Inf", "-Inf"),
    ],
)
def test_a_number_as_text(value: float, in_answers: str, in_labels: str, in_expressions: str) -> None:
    assert (api(value), plain(value), literal(value)) == (in_answers, in_labels, in_expressions)


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (0, "0s"),
        (1, "1ms"),
        (90_000, "1m30s"),
        (3_600_000, "1h"),
        (604_800_000, "1w"),
        (691_200_000, "8d"),
        (1001, "1s1ms"),
    ],
)
def test_a_duration_as_text(milliseconds: int, said: str) -> None:
    assert duration(milliseconds) == said


@pytest.mark.parametrize(
    "query", ['{"a.b",c="1"}', 'm{"x y"="1"}', 'm{a!="\\"\\n"}', "m @ end() offset -1m", "a ^ -1", "m[1h:]"]
)
def test_an_expression_that_is_written_out_reads_the_same(query: str) -> None:
    assert parse(text(parse(query))) == parse(query)
    assert text(parse(query)) == query
