"""The rules of the experiment with adaptive limits: what each says of a callee that is known exactly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.limit_rules import FEW, RULES, Limit, Look, Rule, asking, latency

LOOKS = st.builds(
    Look,
    under_way=st.floats(0, 10_000),
    ended=st.integers(0, 100_000),
    seconds=st.floats(0.01, 10),
)


def look_at(limit: int, *, workers: int, takes: float, offered: float = math.inf) -> Look:
    """A second of a callee with so many workers: what is above them waits inside."""
    rate = min(offered, min(limit, workers) / takes)
    busy = limit if offered >= min(limit, workers) / takes else offered * takes
    return Look(under_way=float(busy), ended=round(rate), seconds=1.0)


def settled(rule: Rule, limit: Limit, **callee: float) -> list[int]:
    """The last limits of a hundred looks."""
    found = []
    for _ in range(100):
        limit = rule(limit, look_at(limit.said, **callee), 64)  # type: ignore[arg-type]
        found.append(limit.said)
    return found[-20:]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_limit_finds_the_callees_workers_from_above_and_from_below(rule: Rule) -> None:
    for begin in (1.0, 64.0):
        limits = settled(rule, Limit(now=begin, least=0.04), workers=16, takes=0.04)
        assert 12 <= min(limits) <= max(limits) <= 28, limits


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_limit_that_nobody_uses_stays(rule: Rule) -> None:
    assert set(settled(rule, Limit(now=16.0, least=0.04), workers=16, takes=0.04, offered=100)) == {16}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_callee_whose_own_work_takes_longer_is_taken_for_a_crowded_one_unless_somebody_asks(rule: Rule) -> None:
    limit = Limit(now=16.0, least=0.04)
    for _ in range(20):
        limit = rule(limit, look_at(limit.said, workers=16, takes=0.16), 16)
    if rule is asking:
        assert limit.said >= 11
    else:
        assert limit.said <= 6, "sixteen workers, of which ten have nothing to do"


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@given(looks=st.lists(LOOKS, max_size=30), ceiling=st.integers(1, 100))
def test_a_limit_is_never_below_one_nor_above_its_ceiling(rule: Rule, looks: list[Look], ceiling: int) -> None:
    limit = Limit(now=float(ceiling))
    for look in looks:
        limit = rule(limit, look, ceiling)
        assert 1 <= limit.said <= ceiling


def test_latency_is_known_by_littles_law() -> None:
    assert latency(Look(under_way=16, ended=400, seconds=1)) == pytest.approx(0.04)
    assert latency(Look(under_way=0, ended=FEW - 1, seconds=1)) is None
    assert latency(Look(under_way=3, ended=0, seconds=1)) == math.inf
