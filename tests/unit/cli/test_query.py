"""`atoll query`: tables now, lines over time, a caret under what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from atoll.cli.sparkline import sparkline
from atoll.testing.clock import FakeClock
from tests.unit.cli.fake_api import Cli, FakeApi

NOW = "/prometheus/api/v1/query"
OVER = "/prometheus/api/v1/query_range"


def vector(*pairs: tuple[dict[str, str], str]) -> tuple[int, Any]:
    result = [{"metric": metric, "value": [1_795_000_000, value]} for metric, value in pairs]
    return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}


def matrix(*pairs: tuple[dict[str, str], Sequence[tuple[float, str]]]) -> tuple[int, Any]:
    result = [{"metric": metric, "values": values} for metric, values in pairs]
    return 200, {"status": "success", "data": {"resultType": "matrix", "result": result}}


@pytest.fixture(autouse=True)
def local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def test_series_are_a_table_sorted_by_value_with_nan_at_the_end_and_numbers_as_they_came(
    cli: Cli, api: FakeApi
) -> None:
    api.answers["GET", NOW] = vector(
        ({"__name__": "up", "service": "orders"}, "NaN"),
        ({"__name__": "up", "service": "catalog"}, "0.1"),
        ({"__name__": "up", "service": "web"}, "1.5e+21"),
    )
    result = cli("query", "up")
    assert result.out.splitlines() == [
        "METRIC  service  VALUE",
        "up      web      1.5e+21",
        "up      catalog  0.1",
        "up      orders   NaN",
    ]


def test_a_series_with_many_labels_is_written_as_prometheus_does(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", NOW] = vector(({"__name__": "m", **dict.fromkeys("abcdef", "1")}, "2"))
    assert cli("query", "m").out.splitlines()[1] == 'm{a="1", b="1", c="1", d="1", e="1", f="1"}  2'


def test_a_scalar_is_one_line_and_no_series_are_said_so(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", NOW] = (200, {"status": "success", "data": {"resultType": "scalar", "result": [1, "3"]}})
    assert cli("query", "1+2").out == "3\n"
    api.answers["GET", NOW] = vector()
    assert cli("query", "nothing").out == "no series\n"


def test_a_range_is_drawn_as_a_line_for_each_series_over_the_time_that_was_asked_for(cli: Cli, api: FakeApi) -> None:
    cli.clock = FakeClock(wall=1_795_000_000.0)
    points = [(1_795_000_000 - 60 + at * 15, str(at)) for at in range(5)]
    api.answers["GET", OVER] = matrix(({"service": "orders"}, points), ({"service": "web"}, points[:2]))
    result = cli("query", "--range", "1m", "--step", "15s", "up")
    assert result.out.splitlines() == [
        "service  GRAPH  MIN  MAX  LAST",
        "orders   ▁▃▅▇█  0    4    4",
        "web      ▁█     0    1    1",
    ]
    asked = dict(api.sent("GET")[-1].query)
    assert (asked["start"], asked["end"], asked["step"]) == ("1794999940.000", "1795000000.000", "15.000")


def test_the_values_of_a_range_are_rows(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", OVER] = matrix(({"service": "orders"}, [(1_795_000_000, "1"), (1_795_000_015, "2")]))
    lines = cli("query", "--range", "1m", "--values", "up").out.splitlines()
    assert [line.split()[-1] for line in lines] == ["VALUE", "1", "2"]


def test_a_parse_error_has_a_caret_under_its_column_and_exit_code_2(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", NOW] = 400, {
        "status": "error", "errorType": "bad_data", "error": "…", "code": "invalid-value",
        "detail": "2:5: parse error: unexpected ')'", "line": 2, "column": 5, "position": 9,
    }  # fmt: skip
    result = cli("query", "sum(\n  a))")
    assert result.code == 2
    assert result.err.splitlines()[:3] == ["error: 2:5: parse error: unexpected ')'", "    a))", "      ^"]


def test_json_is_the_data_of_the_answer_and_an_error_carries_line_and_column(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", NOW] = vector(({"service": "orders"}, "1"))
    assert cli("query", "up", "--json").json["result"][0]["value"][1] == "1"
    api.answers["GET", NOW] = 400, {"code": "invalid-value", "detail": "1:1: parse error: x", "line": 1, "column": 1}
    assert '"column":1' in cli("query", "up", "--json").err.replace(" ", "")


def test_hostile_labels_do_not_reach_the_terminal(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", NOW] = vector(({"a": "\x1b[31m\n\u202e", "service": "x\x07"}, "1"))
    out = cli("query", "up").out
    assert not {"\x1b", "\u202e", "\x07"} & set(out)
    assert len(out.splitlines()) == 2


def test_an_answer_that_is_not_prometheus_is_refused(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", NOW] = 200, {"hello": "world"}
    assert cli("query", "up").code == 1


def test_step_without_a_range_is_refused(cli: Cli, api: FakeApi) -> None:
    assert cli("query", "--step", "5s", "up").code == 2
    assert not api.requests


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 5, ""),
        ([1.0], 5, "▁"),
        ([1.0, 1.0], 5, "▁▁"),
        ([0.0, None, 7.0], 5, "▁ █"),
        ([float("nan"), float("inf"), None], 5, "   "),
        ([0.0, 1.0, 2.0, 3.0], 2, "▁█"),
        ([-1.7e308, 1.7e308], 2, "▁█"),
    ],
)
def test_a_sparkline(values: list[float | None], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn
