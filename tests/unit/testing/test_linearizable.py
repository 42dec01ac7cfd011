"""The checker says yes to histories that some order explains, and no to those that none does."""

from __future__ import annotations

import random

import pytest

from atoll.testing.history import Call, Outcome
from atoll.testing.linearizable import CALL_LIMIT, Register, Undecided, linearizable
from tests.unit.testing.calls import cas, get, put

GOOD: dict[str, list[Call]] = {
    "nothing": [],
    "one after the other": [put(0, 1, "a", 1), get(2, 3, "a", 1), put(4, 5, "b", 2), get(6, 7, "b", 2)],
    "absent before the first write": [get(0, 1, None, 0), put(2, 3, "a", 1)],
    "a read beside a write sees the old value": [put(0, 1, "a", 1), put(2, 9, "b", 2), get(3, 4, "a", 1)],
    "a read beside a write sees the new value": [put(0, 1, "a", 1), put(2, 9, "b", 2), get(3, 4, "b", 2)],
    "overlapping writes, the later called wins": [put(0, 9, "a", 2), put(1, 8, "b", 1), get(10, 11, "a", 2)],
    "a lost write that never happened": [put(0, 1, "a", 1), put(2, 3, "b", None), get(4, 5, "a", 1)],
    "a lost write that happened": [put(0, 1, "a", 1), put(2, 3, "b", None), get(4, 5, "b", 2)],
    "a lost write that happened long after": [
        put(0, 1, "a", None),
        get(2, 3, None, 0),
        get(4, 5, None, 0),
        get(6, 7, "a", 1),
    ],
    "a race with one winner": [cas(0, 5, 0, "a", None, "revision-conflict"), cas(0, 5, 0, "b", 1), get(6, 7, "b", 1)],
    "a lost winner of a race": [
        cas(0, 5, 0, "a", None),
        cas(1, 6, 0, "b", None, "revision-conflict"),
        get(7, 8, "a", 1),
    ],
    "refused for no room": [cas(0, 1, 0, "a", None, "storage-full"), get(2, 3, None, 0)],
}

BAD: dict[str, list[Call]] = {
    "a stale read": [put(0, 1, "a", 1), put(2, 3, "b", 2), get(4, 5, "a", 1)],
    "an acknowledged write is lost": [put(0, 1, "a", 1), get(2, 3, None, 0)],
    "a value from nowhere": [put(0, 1, "a", 1), get(2, 3, "x", 7)],
    "a read from the future": [get(0, 1, "a", 1), put(2, 3, "a", 1)],
    "going back": [put(0, 1, "a", 1), put(2, 20, "b", 2), get(3, 4, "b", 2), get(5, 6, "a", 1)],
    "two winners of one race": [cas(0, 5, 0, "a", 1), cas(0, 5, 0, "b", 2)],
    "a conflict that was none": [put(0, 1, "a", 1), cas(2, 3, 1, "b", None, "revision-conflict")],
    "a refused write that is there": [cas(0, 1, 0, "a", None, "storage-full"), get(2, 3, "a", 1)],
    "a revision that does not grow": [put(0, 1, "a", 5), put(2, 3, "b", 5)],
    "the wrong revision of the right value": [put(0, 1, "a", 5), get(2, 3, "a", 6)],
    "a lost write that comes and goes": [
        put(0, 1, "a", 1),
        put(2, 3, "b", None),
        get(4, 5, "b", 2),
        get(6, 7, "a", 1),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_with_an_explanation_is_linearizable(name: str) -> None:
    verdict = linearizable(GOOD[name])
    assert verdict.linearizable, verdict


@pytest.mark.parametrize("name", BAD)
def test_a_history_without_an_explanation_is_not(name: str) -> None:
    verdict = linearizable(BAD[name])
    assert not verdict.linearizable
    assert verdict.stuck, "it must name the calls that do not fit"


def test_the_search_goes_on_from_a_given_state() -> None:
    assert linearizable([get(0, 1, "a", 4)], initial=Register("a", 4)).linearizable
    assert not linearizable([get(0, 1, "a", 4)], initial=Register("b", 5)).linearizable


def simulated(seed: int, clients: int = 5, calls: int = 250) -> list[Call]:
    """A history of a real register: each call takes effect at a random moment between its start and its end."""
    rng = random.Random(seed)
    plans = []
    for _ in range(clients):
        now = rng.random()
        for _ in range(calls // clients):
            start, effect, end = now, now + rng.random(), now + 1 + rng.random()
            plans.append((effect, start, end, rng.choice(["get", "put", "cas"]), rng.random() < 0.02))
            now = end + rng.random() * 0.1
    state, revision, history = Register(), 0, []
    for number, (_, start, end, kind, lost) in enumerate(sorted(plans)):
        if kind == "get":
            history.append(get(start, end, state.value, state.modified or 0))
            continue
        expect = rng.choice([state.modified or 0, revision])
        if kind == "cas" and expect != state.modified:
            history.append(cas(start, end, expect, f"v{number}", None, "revision-conflict"))
            continue
        revision += 1 + (rng.random() < 0.2)
        state = Register(f"v{number}", revision)
        seen = None if lost else revision
        call = put(start, end, f"v{number}", seen) if kind == "put" else cas(start, end, expect, f"v{number}", seen)
        history.append(call)
    return history


@pytest.mark.parametrize("seed", range(12))
def test_what_a_real_register_does_is_linearizable_and_one_stale_read_in_it_is_found(seed: int) -> None:
    history = simulated(seed)
    assert linearizable(history).linearizable
    reads = [index for index, call in enumerate(history) if call.call == "get"]
    index = reads[len(reads) * 3 // 4]
    stale = next(call for call in history if call.call == "get")
    history[index] = get(history[index].start, history[index].end, stale.answer["value"], stale.answer["modified"])
    assert not linearizable(history).linearizable


def test_too_many_calls_or_clients_are_refused_instead_of_searched_for_ever() -> None:
    with pytest.raises(Undecided, match=str(CALL_LIMIT)):
        linearizable([get(n, n + 0.5, None, 0) for n in range(CALL_LIMIT + 1)])
    with pytest.raises(Undecided, match="at once"):
        linearizable([get(0, 1, None, 0) for _ in range(7)])


def test_the_witness_keeps_real_time_and_holds_every_answered_call() -> None:
    history = simulated(99)
    order = linearizable(history).order
    answered = [call for call in history if call.outcome is not Outcome.UNKNOWN]
    assert sorted(call.start for call in order if call.outcome is not Outcome.UNKNOWN) == sorted(
        c.start for c in answered
    )
    latest_start = float("-inf")
    for call in order:
        assert call.outcome is Outcome.UNKNOWN or call.end >= latest_start
        latest_start = max(latest_start, call.start)
