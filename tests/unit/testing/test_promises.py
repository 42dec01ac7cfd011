"""Each promise's check passes what keeps it and names what breaks it."""

from __future__ import annotations

import pytest

from atoll.testing.history import Call, Outcome
from atoll.testing.promises import (
    SHOWN,
    Breach,
    Happened,
    PromiseBroken,
    acked_is_durable,
    judge,
    lease_floor,
    log_is_whole,
    refused_did_not_happen,
    revisions_grow,
)
from tests.unit.testing.calls import commit, get

A = Happened("put", "a", "1")
B = Happened("put", "b", "2")
GONE = Happened("delete", "a")


def test_acknowledged_commits_that_stand_in_the_log_are_durable() -> None:
    calls = [commit(0, 1, {"a": "1", "b": "2"}, 1), commit(2, 3, {"a": None}, 2), commit(4, 5, {"c": "3"})]
    assert acked_is_durable(calls, {1: (A, B), 2: (GONE,)}) == []


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ({}, "where a = '1' is not"),
        ({1: (A,)}, "where b = '2' is not"),
        ({2: (A, B)}, "where a = '1' is not"),
        ({1: (Happened("put", "a", "other"), B)}, "where a = '1' is not"),
        ({1: (A, B, GONE)}, "revision 1 also holds"),
    ],
)
def test_an_acknowledged_commit_that_is_lost_torn_moved_changed_or_mixed_is_a_breach(
    log: dict[int, tuple[Happened, ...]], said: str
) -> None:
    (breach,) = acked_is_durable([commit(0, 1, {"a": "1", "b": "2"}, 1)], log)
    assert breach.promise == "acked-is-durable"
    assert said in breach.detail


def test_what_is_compacted_cannot_be_judged_and_an_answer_without_revision_is_a_breach() -> None:
    assert acked_is_durable([commit(0, 1, {"a": "1"}, 1)], {}, compacted=1) == []
    nameless = Call(client="w", call="commit", start=0, end=1, outcome=Outcome.OK)
    assert len(acked_is_durable([nameless], {})) == 1


def test_a_refused_commit_that_is_found_is_a_breach() -> None:
    calls = [commit(0, 1, {"a": "1"}, error="storage-full")]
    assert refused_did_not_happen(calls, {1: (B,)}) == []
    assert len(refused_did_not_happen(calls, {1: (A,)})) == 1


def test_a_gap_in_the_log_is_a_breach_unless_it_is_compacted() -> None:
    assert log_is_whole({1: (A,), 2: (B,)}) == []
    assert len(log_is_whole({1: (A,), 3: (B,)})) == 1
    assert log_is_whole({3: (B,)}, compacted=2) == []


def test_revisions_that_grow_with_time_are_fine_also_when_calls_overlap() -> None:
    calls = [commit(0, 1, {"a": "1"}, 1), commit(2, 9, {"a": "2"}, 3), commit(3, 8, {"b": "2"}, 2), get(4, 5, "1", 1)]
    assert revisions_grow(calls) == []


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([commit(0, 1, {"a": "1"}, 5), get(2, 3, None, 4)], "saw 4 after"),
        ([get(0, 1, "x", 5), get(2, 3, "x", 4)], "saw 4 after"),
        ([get(0, 1, "x", 5), commit(2, 3, {"a": "1"}, 5)], "which c's get"),
        ([commit(0, 3, {"a": "1"}, 5), commit(0, 3, {"b": "1"}, 5)], "share 5"),
    ],
)
def test_a_smaller_repeated_or_shared_revision_is_a_breach(calls: list[Call], said: str) -> None:
    breaches = revisions_grow(calls)
    assert any(said in breach.detail for breach in breaches), breaches


def renewal(start: float, *, call: str = "renew", outcome: Outcome = Outcome.OK) -> Call:
    return Call(client="web/1", call=call, arguments={"ttl": 10.0}, start=start, end=start + 1, outcome=outcome)


GONE_AT_20 = [("instances/web/1", 20.0)]


@pytest.mark.parametrize(
    ("calls", "breaches"),
    [
        ([renewal(10.0)], 0),
        ([renewal(10.5)], 1),
        ([renewal(1.0), renewal(15.0)], 1),
        ([renewal(1.0), renewal(15.0, outcome=Outcome.UNKNOWN)], 0),
        ([renewal(1.0), renewal(25.0)], 0),
        ([renewal(15.0), renewal(16.0, call="deregister")], 0),
        ([], 0),
    ],
)
def test_who_goes_before_its_ttl_is_over_and_did_not_leave_is_a_breach(calls: list[Call], breaches: int) -> None:
    assert len(lease_floor(calls, GONE_AT_20)) == breaches


def test_judge_fails_with_every_breach_and_shows_a_bounded_number() -> None:
    judge([], [])
    many = [Breach("acked-is-durable", f"number {n}") for n in range(SHOWN + 5)]
    with pytest.raises(PromiseBroken, match="and 5 more") as failure:
        judge([], many)
    assert len(failure.value.breaches) == SHOWN + 5
