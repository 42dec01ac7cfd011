"""Tables and words: aligned, and free of anything that could drive a terminal (J7)."""

from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from atoll.cli.show import Cell, Show, table_lines
from atoll.cli.talk import Talk
from tests.unit.cli.fake_api import Cli, FakeApi

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\r\n\t\x00\x7f\x9b31m\u202e\u2028'\"%[env(X)]${HOME};`id`"


def test_columns_are_aligned_and_empty_ones_left_out() -> None:
    assert table_lines(("NAME", "EMPTY", "SIZE"), [("a", "", "1"), ("longer", "", "22")]) == [
        "NAME    SIZE",
        "a       1",
        "longer  22",
    ]


def test_wide_characters_take_two_columns() -> None:
    assert table_lines(("N", "S"), [("注文", "1"), ("é", "2")])[1:] == ["注文  1", "é     2"]


def test_a_terminal_row_never_exceeds_its_width() -> None:
    rows = [["x" * 30, "注" * 60, "y" * 50]]
    for width in range(1, 60):
        for line in table_lines(("A", "B", "C"), rows, width=width):
            assert len(line) + line.count("注") <= width


def test_a_table_without_rows_is_its_heading() -> None:
    assert table_lines(("A", "B"), []) == ["A  B"]


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=5))
def test_no_value_breaks_a_table_open(rows: list[list[str]]) -> None:
    lines = table_lines(("A", "B"), rows, color=False, width=40)
    assert len(lines) == len(rows) + 1
    for line in lines:
        assert not [character for character in line if ord(character) < 0x20]


@given(st.text(), st.text())
def test_words_on_stderr_hold_no_control_characters_but_newlines(text: str, hint: str) -> None:
    stream = io.StringIO()
    talk = Talk(stream, verbose=True)
    talk.note(text)
    talk.detail(text)
    talk.warning(text, hint)
    talk.error(text, hint)
    assert not [character for character in stream.getvalue() if ord(character) < 0x20 and character != "\n"]


def test_hostile_values_are_escaped_in_every_list_and_stay_exact_in_json(cli: Cli, api: FakeApi) -> None:
    name = HOSTILE
    api.facts["services/orders"] = {
        "name": "orders",
        "origin": name,
        "run": {"command": [name], "environment": {name: name}},
    }
    api.facts[f"services/{name}"] = {"name": name, "origin": name}
    api.facts[f"instances/orders/{name}"] = {
        "service": "orders",
        "id": name,
        "host": name,
        "port": 1,
        "version": name,
        "zone": name,
        "cause": name,
        "state": "failing",
    }
    api.facts[f"routes/{name}"] = {
        "name": name,
        "match": {"hosts": [name], "path": name},
        "shares": [{"service": name}],
    }
    api.reports.append(
        {
            "report": {
                "node": "n",
                "children": [{"service": name, "instance": name, "phase": "running", "cause": name, "pid": 1}],
            },
            "age": 0.0,
        }
    )
    record = {"at": 1.0, "verb": "failing", "service": "orders", "instance": name, "endpoint": name, "state": "failing"}
    api.answers["GET", "/api/v1/services/orders/history"] = (
        200,
        {"service": "orders", "records": [record | {"cause": name}]},
    )
    api.answers["GET", "/api/v1/services/x/history"] = (409, {"code": "x", "detail": name, "hint": name, "title": name})
    for line in (
        ("ps",),
        ("service", "ls"),
        ("service", "show", "orders"),
        ("service", "history", "orders"),
        ("service", "history", "x"),
        ("routes",),
    ):
        for more in ((), ("--json",), ("--color", "never", "-v")):
            result = cli(*line, *more)
            for shown in (result.out, result.err):
                bad = [character for character in shown if ord(character) < 0x20 and character != "\n"]
                assert not bad, (line, more)
                assert not any(code in shown for code in ("\x7f", "\x9b", "\u202e", "\u2028"))
    assert [row["instance"] for row in cli("ps", "--json").json] == [name, name]


def test_a_record_that_cannot_be_read_hides_no_other(cli: Cli, shop: FakeApi) -> None:
    shop.facts["instances/orders/broken"] = {"service": "orders", "id": 7}
    result = cli("ps")
    assert result.code == 0
    assert "orders-1" in result.out
    assert "1 records cannot be read" in result.err


def test_colours_follow_the_flag_then_no_color_then_force_color(cli: Cli, shop: FakeApi) -> None:
    assert "\x1b" not in cli("ps").out
    assert "\x1b[" in cli("ps", "--color", "always").out
    cli.environ["FORCE_COLOR"] = "1"
    assert "\x1b[" in cli("ps").out
    cli.environ["NO_COLOR"] = "1"
    assert "\x1b" not in cli("ps").out
    assert "\x1b[" in cli("--color=always", "ps").out
    assert "\x1b" not in cli("ps", "--json", "--color=always").out


def test_json_documents_are_whole_and_printable() -> None:
    stream = io.StringIO()
    Show(stream, json=True, color=True).json({"x": HOSTILE, "cell": Cell("a")})
    assert json.loads(stream.getvalue())["x"] == HOSTILE
