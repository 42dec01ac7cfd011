from __future__ import annotations

import pytest

from atoll.telemetry.logs.patterns import WAVE, Miner, Seen, last_deployments, words_of


def mined(*lines: str | tuple[str, int]) -> dict[str, int]:
    miner = Miner()
    for line in lines:
        text, count = line if isinstance(line, tuple) else (line, 1)
        miner.add(Seen("web", text, count, 0, 0, 0))
    return {one.text: one.count for one in miner.found}


def test_similar_lines_are_one_pattern() -> None:
    assert mined("order 17 of anna created", "order 18 of ben created", ("order 19 of carl created", 5)) == {
        "order <*> of <*> created": 7
    }
    assert mined("user anna logged in", "user ben logged in") == {"user <*> logged in": 2}


def test_lines_that_differ_in_more_than_a_word_in_four_stay_apart() -> None:
    assert mined("payment accepted", "payment declined") == {"payment accepted": 1, "payment declined": 1}
    assert len(mined("a b c d", "a b x y", "a b c", "z b c d")) == 4


def test_services_are_kept_apart_and_times_and_severity_add_up() -> None:
    miner = Miner()
    miner.add(Seen("web", "slow 1", 2, 50, 60, 9))
    miner.add(Seen("web", "slow 2", 1, 10, 90, 17))
    miner.add(Seen("job", "slow 3", 1, 1, 1, 0))
    web, job = miner.found
    assert (web.service, web.count, web.first, web.last, web.severity, web.example) == ("web", 3, 10, 90, 17, "slow 2")
    assert job.count == 1


def test_a_traceback_is_known_by_its_exception_and_a_record_by_its_first_line() -> None:
    trace = 'Traceback (most recent call last):\n  File "x.py", line 3\nValueError: card 17'
    assert words_of(trace) == ["ValueError:", "card", "<*>"]
    assert words_of("failed\n" + trace) == ["failed"]
    assert words_of("") == words_of("\n") == [""]


@pytest.mark.parametrize("text", ["x" * 100_000, "a " * 50_000, "\0\n\x1b", "<*> <*>", "1"])
def test_no_line_is_too_much(text: str) -> None:
    assert len(words_of(text)) <= 64
    assert sum(mined(text, text).values()) == 2


def test_the_last_deployment_is_the_first_start_of_the_last_wave() -> None:
    starts = {"web": [100.0, 1000.0, 1000.0 + WAVE, 1000.0 + 2 * WAVE], "job": [5.0], "none": list[float]()}
    assert last_deployments(starts) == {"web": 1000.0, "job": 5.0}
