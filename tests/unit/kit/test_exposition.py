from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.kit.exposition import SERIES_LIMIT, Kind, Metric, render

LAG = Metric("atoll_lag_seconds", Kind.GAUGE, "How late.", "seconds", ("who",))


def test_a_metric_is_told_with_help_and_type_and_one_line_a_series() -> None:
    assert render([(LAG, [(("a",), 0.25), (("b",), 3.0)])]) == (
        "# HELP atoll_lag_seconds How late.\n"
        "# TYPE atoll_lag_seconds gauge\n"
        'atoll_lag_seconds{who="a"} 0.25\n'
        'atoll_lag_seconds{who="b"} 3\n'
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [(math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (True, "1"), (2.0**60, "1.152921504606847e+18")],
)
def test_every_number_has_its_text(number: float, text: str) -> None:
    assert render([(LAG, [(("a",), number)])]).splitlines()[-1].endswith(f" {text}")


@given(st.text())
def test_no_label_value_breaks_out_of_its_line(value: str) -> None:
    text = render([(LAG, [((value,), 1)])])
    text.encode()
    assert text.count("\n") == 3
    inside = text.split("\n")[2].removeprefix('atoll_lag_seconds{who="').removesuffix('"} 1')
    assert '"' not in inside.replace("\\\\", "").replace('\\"', "")


def test_a_series_that_stands_twice_is_told_once_and_too_many_are_left_out() -> None:
    assert render([(LAG, [(("a",), 1), (("a",), 2)])]).count("atoll_lag_seconds{") == 1
    many = [((str(number),), 1.0) for number in range(SERIES_LIMIT + 5)]
    assert render([(LAG, many)]).count("atoll_lag_seconds{") == SERIES_LIMIT


@pytest.mark.parametrize(
    "given",
    [
        ("lag_seconds", Kind.GAUGE, "X.", "seconds"),
        ("atoll_lag", Kind.GAUGE, "X.", "seconds"),
        ("atoll_lag_seconds", Kind.COUNTER, "X.", "seconds"),
        ("atoll_lag_total", Kind.GAUGE, "X."),
        ("atoll_lag_milliseconds", Kind.GAUGE, "X.", "milliseconds"),
        ("atoll_Lag", Kind.GAUGE, "X."),
        ("atoll_lag", Kind.GAUGE, ""),
    ],
)
def test_a_definition_against_the_conventions_is_refused(given: tuple[str, Kind, str]) -> None:
    with pytest.raises(AssertionError):
        Metric(*given)
