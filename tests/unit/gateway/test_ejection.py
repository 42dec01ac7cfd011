from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.gateway.ejection import (
    CALM,
    FORGIVEN,
    LONGEST_TERM,
    PANIC,
    TOGETHER,
    Ejections,
    Look,
    Pool,
    ejections,
    judged,
    news,
    unsettled,
)
from atoll.model.names import InstanceId, ServiceName

WEB = ServiceName("web")
Pools = dict[ServiceName, Pool]


def look(name: str, count: int = 0, *, passes: bool = True, **values: Any) -> Look:
    values = {"fails": False, "downs": count, **values}
    return Look(member=(WEB, InstanceId(name)), ejections=count, passes=passes, **values)


def pool(*counts: int) -> list[Look]:
    return [look("abcdefgh"[at], count) for at, count in enumerate(counts)]


def shares(pools: Pools, now: float) -> dict[str, int]:
    return {instance: share for (_, instance), share in ejections(pools, now).shares.items()}


def test_an_instance_that_fails_is_held_out_and_comes_back_in_steps() -> None:
    pools = judged({}, pool(0, 0, 0), 0.0)
    assert ejections(pools, 0.0) == Ejections()
    pools = judged(pools, pool(1, 0, 0), 10.0)
    assert [shares(pools, at) for at in (10.0, 10.9, 11.0, 12.0, 13.0)] == [
        {"a": 0}, {"a": 0}, {"a": 25}, {"a": 50}, {},
    ]  # fmt: skip


def test_each_time_is_twice_as_long_and_never_longer_than_the_longest() -> None:
    pools, now, terms = judged({}, pool(0, 0, 0), 0.0), 10.0, []
    for count in range(1, 8):
        pools = judged(pools, pool(count, 0, 0), now)
        term = pools[WEB].members[InstanceId("a")].until - now
        terms.append(term)
        now += term + 1
    assert terms == [1, 2, 4, 8, 16, 30, 30]


def test_what_fails_on_its_way_when_the_instance_is_out_already_is_no_other_time() -> None:
    pools = judged(judged({}, pool(0, 0, 0), 0.0), pool(1, 0, 0), 1.0)
    pools = judged(pools, [look("a", 2, downs=1), *pool(0, 0, 0)[1:]], 1.2)
    assert pools[WEB].members[InstanceId("a")].row == 1


def test_what_happened_is_told_once() -> None:
    calm = judged({}, pool(0, 0, 0), 0.0)
    one = judged(calm, pool(1, 0, 0), 1.0)
    assert list(news(calm, one)) == [(WEB, "a", "its requests failed; it gets none for 1 s")]
    assert list(news(one, judged(one, pool(1, 0, 0), 2.0))) == []
    both = judged(one, pool(1, 1, 0), 2.0)
    assert list(news(one, both)) == [(WEB, None, PANIC)]


def test_one_that_was_in_and_out_between_two_looks_was_out_as_often() -> None:
    pools = judged(judged({}, pool(0, 0, 0), 0.0), pool(3, 0, 0), 1.0)
    assert pools[WEB].members[InstanceId("a")].until == 1.0 + 4


def test_after_a_calm_it_begins_anew() -> None:
    pools = judged(judged({}, pool(0, 0, 0), 0.0), pool(1, 0, 0), 10.0)
    assert judged(pools, pool(2, 0, 0), 11 + FORGIVEN - 1)[WEB].members[InstanceId("a")].row == 2
    assert judged(pools, pool(2, 0, 0), 11 + FORGIVEN)[WEB].members[InstanceId("a")].row == 1


def test_what_was_counted_before_we_looked_is_no_news_but_a_new_process_counts_from_0() -> None:
    pools = judged({}, pool(7, 0, 0), 0.0)
    assert shares(pools, 0.0) == {}
    assert shares(judged(pools, pool(0, 0, 0), 1.0), 1.0) == {}
    assert shares(judged(pools, pool(1, 0, 0), 1.0), 1.0) == {"a": 0}


def test_a_failing_check_wipes_what_is_remembered() -> None:
    pools = judged(judged({}, pool(0, 0, 0), 0.0), pool(1, 0, 0), 1.0)
    dead = [look("a", 1, passes=False, fails=True), *pool(0, 0, 0)[1:]]
    pools = judged(pools, dead, 1.2)
    assert shares(pools, 1.2) == {}
    assert shares(judged(pools, pool(2, 0, 0), 2.0), 2.0) == {"a": 0}
    assert judged(pools, pool(2, 0, 0), 2.0)[WEB].members[InstanceId("a")].row == 1


@pytest.mark.parametrize(
    ("bad", "of", "held"), [(1, 2, 1), (1, 3, 1), (2, 4, 2), (2, 5, 2)], ids=lambda value: str(value)
)
def test_up_to_half_of_a_pool_is_held_out(bad: int, of: int, held: int) -> None:
    pools = judged({}, pool(*[0] * of), 0.0)
    pools = judged(pools, pool(*[int(at < bad) for at in range(of)]), 1.0)
    assert len(shares(pools, 1.0)) == held


def test_what_its_check_keeps_out_leaves_less_to_hold_out() -> None:
    dead = look("d", passes=False, fails=True)
    pools = judged({}, [*pool(0, 0, 0), dead], 0.0)
    pools = judged(pools, [*pool(1, 0, 0), dead], 1.0)
    assert shares(pools, 1.0) == {"a": 0}
    pools = judged(pools, [*pool(1, 1, 0), dead], 1.5)
    assert list(shares(pools, 1.5).values()) == [0]


def test_when_more_than_half_fails_though_checks_pass_everybody_serves() -> None:
    pools = judged({}, pool(0, 0, 0), 0.0)
    pools = judged(pools, pool(1, 1, 0), 1.0)
    assert ejections(pools, 1.0) == Ejections(panics=frozenset({WEB}))
    assert unsettled(pools, 1.0)


def test_two_that_died_together_are_no_panic() -> None:
    pools = judged({}, pool(0, 0, 0), 0.0)
    unknown = [look("a", 1, passes=False), look("b", 1, passes=False), look("c")]
    pools = judged(pools, unknown, 1.0)
    assert ejections(pools, 1.0).panics == frozenset()
    dead = [look(name, 1, passes=False, fails=True) for name in "ab"]
    pools = judged(pools, [*dead, look("c")], 1.2)
    assert ejections(pools, 1.2) == Ejections()


def test_ejections_far_apart_are_no_panic() -> None:
    pools = judged(judged({}, pool(0, 0, 0), 0.0), pool(1, 0, 0), 1.0)
    assert ejections(judged(pools, pool(1, 1, 0), 1.0 + TOGETHER), 1.0 + TOGETHER).panics == frozenset()
    assert ejections(judged(pools, pool(1, 1, 0), 0.9 + TOGETHER), 0.9 + TOGETHER).panics == {WEB}


def test_a_panic_ends_when_requests_have_succeeded_for_a_while() -> None:
    pools = judged(judged({}, pool(0, 0), 0.0), pool(1, 1), 1.0)
    for second in range(2, 6):
        failing = [look(name, requests=20 * second, failures=10 * second) for name in "ab"]
        pools = judged(pools, failing, float(second))
    assert ejections(pools, 5.0).panics == {WEB}
    calm = [look(name, requests=1000, failures=50) for name in "ab"]
    pools = judged(pools, calm, 5.0 + CALM - 0.1)
    assert ejections(pools, 14.9).panics == {WEB}
    pools = judged(pools, calm, 5.0 + CALM)
    assert ejections(pools, 15.0) == Ejections()
    assert not unsettled(pools, 15.0)


def test_the_only_instance_is_never_held_out() -> None:
    pools = judged(judged({}, pool(0), 0.0), pool(1), 1.0)
    assert ejections(pools, 1.0) == Ejections()


LOOKS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([(True, False), (False, True), (False, False)]), st.integers(0, 40)),
    min_size=1,
    max_size=8,
)


@given(st.lists(st.tuples(LOOKS, st.floats(0.01, 20)), min_size=1, max_size=12))
def test_never_is_more_than_half_held_out_nor_for_longer_than_the_longest(
    story: list[tuple[list[tuple[int, tuple[bool, bool], int]], float]],
) -> None:
    pools: Pools = {}
    now = 0.0
    counts = [0] * 8
    for looks, pause in story:
        now += pause
        found = []
        for at, (more, (passes, fails), failures) in enumerate(looks):
            counts[at] += more
            found.append(look("abcdefgh"[at], counts[at], passes=passes, fails=fails, requests=40, failures=failures))
        pools = judged(pools, found, now)
        said = ejections(pools, now)
        held = [share for share in said.shares.values() if share == 0]
        assert 2 * len(held) <= len(found)
        assert not (WEB in said.panics and said.shares)
        assert ejections(pools, now + LONGEST_TERM + 2).shares == {}
