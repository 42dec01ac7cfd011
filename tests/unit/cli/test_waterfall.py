from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from atoll.cli.show import columns_of
from atoll.cli.waterfall import ASCII, Drawing, glyphs
from tests.unit.cli.traces_stage import TRACE, hostile, order

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_trace_is_drawn_with_bars_marks_and_log_lines() -> None:
    drawn = list(Drawing(order(), width=84).lines())
    assert "\n".join(drawn) == (
        """\
trace 4bf92f3577b34da6a3ce929d0e0e4736
2026-11-21 14:02:11.100  200 ms  5 spans  1 failed
gateway, web, orders

gateway GET /gateway 502          200 ms  ██████████████████████████████████████████
    ↻ 3 attempts, the last by another instance
  web GET /web                    190 ms   ████████████████████████████████████████
  ? span gone was not received    100 ms      ░░░░░░░░░░░░░░░░░░░░░
    ✗ orders GET /orders          100 ms      █████████████████████
        ✗ card was declined
        ◷ its clock is 300 s ahead; corrected here
        14:02:11.130 error boom (+2 lines)
    cache GET /cache             10.0 ms                                 ░░
        14:02:11.251 KeyError

log lines of no span that is shown:
  14:02:11.140 info  web: of no span"""
    )


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for trace in (order(), hostile()):
        for line in Drawing(trace, width=width).lines():
            assert columns_of(line) <= max(width, 64) or line.startswith(("trace ", "there are more")), line


def test_in_a_pipe_nothing_is_cut_and_nothing_coloured() -> None:
    drawn = "\n".join(Drawing(order()).lines())
    assert "\x1b" not in drawn
    assert "gateway GET /gateway 502" in drawn


def test_with_v_attributes_events_and_whole_log_records_are_shown() -> None:
    drawn = "\n".join(Drawing(order(), width=100, verbose=True).lines())
    for words in ("user.id = u-7", "self time = ", "14:02:11.252 evicted", "boom\n", "  at line 3\n"):
        assert words in drawn


def test_colours_are_of_the_service_and_red_where_it_failed() -> None:
    plain = list(Drawing(order(), width=100).lines())
    colored = list(Drawing(order(), width=100, color=True).lines())
    assert [ANSI.sub("", line).rstrip() for line in colored] == [line.rstrip() for line in plain]
    (failed,) = [line for line in colored if "orders GET" in line]
    assert failed.startswith("\x1b[31m")


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("width", [None, 50])
def test_hostile_text_never_reaches_the_terminal(width: int | None, verbose: bool, color: bool) -> None:
    for line in Drawing(hostile(), width=width, verbose=verbose, color=color).lines():
        bare = ANSI.sub("", line) if color else line
        assert all(character.isprintable() for character in bare), repr(line)


def test_a_terminal_without_these_characters_gets_ascii() -> None:
    assert glyphs("utf-8") != ASCII
    for encoding in ("ascii", "latin-1", "no-such", None):
        assert glyphs(encoding) == ASCII
    drawn = "\n".join(Drawing(order(), width=80, made_of=ASCII).lines())
    assert drawn.isascii()
    assert TRACE in drawn
