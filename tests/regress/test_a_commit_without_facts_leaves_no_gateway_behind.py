"""The soak found it: after a pruning of the history the gateway was one revision behind until the next fact changed.

So `wait`, the doctor and whoever compares revisions waited for something that was so already.
"""

from __future__ import annotations

from atoll.model.report import GatewayReport
from atoll.wiring.node import caught_up


def revision(running: int, *, known: int, heard: int) -> int:
    return caught_up(GatewayReport(revision=running), known, heard).revision


def test_a_gateway_that_runs_the_newest_facts_has_everything_that_was_heard() -> None:
    assert revision(7, known=7, heard=9) == 9
    assert revision(7, known=7, heard=7) == 7


def test_a_gateway_that_does_not_yet_is_told_as_it_is() -> None:
    assert revision(6, known=7, heard=9) == 6
    assert revision(0, known=7, heard=9) == 0


def test_a_gateway_is_never_told_older_than_it_is() -> None:
    assert revision(12, known=7, heard=3) == 12
