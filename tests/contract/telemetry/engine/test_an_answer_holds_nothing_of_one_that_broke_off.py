"""A question that broke off at a limit left the beginning of its answer to the next one of the same session.

Found by G12: the map of services answered 500, because its JSON had the head of another answer in front of it; columns
would have been those of the other question.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from atoll.errors import LimitReached
from atoll.telemetry.engine import Engine, Limits

SHORT = Limits(seconds=0.05, rows=10)
SLOW = "SELECT sum(cityHash64(number)) AS n FROM numbers(100000000000)"
LARGE = "SELECT number AS n FROM numbers(1000000)"


@pytest.mark.parametrize("broken", [SLOW, LARGE])
def test_after_a_question_that_broke_off_the_next_one_has_its_own_answer(engine: Engine, broken: str) -> None:
    for _ in range(5):
        with pytest.raises(LimitReached):
            engine.rows(broken, limits=SHORT)
        assert answered(lambda: engine.rows("SELECT 7 AS n", limits=SHORT)) == [{"n": 7}]
        with pytest.raises(LimitReached):
            engine.arrow(broken, limits=SHORT)
        assert answered(lambda: engine.arrow("SELECT 7 AS seven", limits=SHORT).to_pylist()) == [{"seven": 7}]


def answered(ask: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The answer; on a machine that stood still for longer than the limit, there was none yet."""
    while True:
        with contextlib.suppress(LimitReached):
            return ask()
