from __future__ import annotations

import pytest

from atoll.supervisor.ending import Ending, cause_of, with_last_line


@pytest.mark.parametrize(
    ("ending", "lines", "cause"),
    [
        (Ending(0), ["MemoryError was handled"], "exit 0"),
        (Ending(3), [], "exit 3"),
        (Ending(-11), [], "killed by SIGSEGV"),
        (Ending(-9), [], "killed by SIGKILL"),
        (Ending(-9, oom=True), [], "killed by SIGKILL, probably out of memory"),
        (Ending(1), ["Traceback", "MemoryError"], "exit 1, probably out of memory"),
        (Ending(-6), ["terminate called after 'std::bad_alloc'"], "killed by SIGABRT, probably out of memory"),
        (Ending(-63), [], "killed by signal 63"),
        (Ending(None), [], "its keeper was killed"),
    ],
)
def test_an_end_is_told_in_words(ending: Ending, lines: list[str], cause: str) -> None:
    assert cause_of(ending, lines) == cause


def test_the_last_line_that_says_something_is_shown_escaped() -> None:
    assert with_last_line("exit 1", ["first", "\x1b[31mred", "  ", ""]) == "exit 1: \\x1b[31mred"
    assert with_last_line("exit 1", []) == "exit 1"
