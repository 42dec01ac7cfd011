"""Each of the seven promises of a watch: kept by the true record, broken by a record with that one flaw."""

from __future__ import annotations

import pytest

from atoll.testing.history import Call, Outcome
from atoll.testing.promises import Happened, Log
from atoll.testing.watched import Heard, Session, sessions_of, watch_contract


def put(key: str, value: str) -> Happened:
    return Happened("put", key, value)


LOG: Log = {
    1: (put("web/a", "1"),),
    2: (put("web/a", "2"), put("web/b", "1"), put("web2/x", "1")),
    3: (put("web2/x", "2"),),
    4: (Happened("delete", "web/b"),),
    5: (put("web/c", "1"),),
}


def heard(revision: int, *events: Happened) -> Heard:
    return Heard(revision, events)


def under(revision: int) -> Heard:
    return Heard(revision, tuple(event for event in LOG[revision] if event.key.startswith("web/")))


def session(*what: Heard, start: int | None = 1, prefix: str = "web/") -> Session:
    return Session(watcher="w", prefix=prefix, start=start, heard=what)


WHOLE = session(heard(0), under(1), under(2), under(4), heard(4), under(5), heard(5))

KEPT: dict[str, Session] = {
    "the whole truth": WHOLE,
    "nothing yet": session(),
    "ended early": session(under(1)),
    "a quiet prefix and its marks": session(heard(1), heard(5), prefix="other/"),
    "resumed in the middle": session(under(2), under(4), start=2),
    "from now on, told where by the first mark": session(heard(3), under(4), start=None),
    "a start in the future waits": session(heard(6), start=7),
}

BROKEN: dict[str, tuple[Session, str]] = {
    "Filter": (session(under(1), heard(2, *LOG[2])), "web2/x"),
    "Ordered": (session(under(1), under(4), under(2)), "2 came after 4"),
    "Unique": (session(under(1), under(1), under(2)), "came 2 times"),
    "Atomic": (session(under(1), heard(2, put("web/a", "2"))), "instead of"),
    "Reliable": (session(under(1), under(4)), "2 never came"),
    "Resumable": (session(under(4), start=2), "2 never came"),
    "Bookmarkable": (session(under(1), heard(3)), "2 never came"),
}

ALSO_BROKEN: dict[str, tuple[str, Session]] = {
    "an event before the start": ("Resumable", session(under(2), start=3)),
    "an event from nowhere": ("Atomic", session(heard(3, put("web/z", "9")))),
    "a wrong value": ("Atomic", session(heard(1, put("web/a", "wrong")))),
    "an event after a mark that covers it": ("Bookmarkable", session(heard(2), under(1))),
    "a mark that goes back": ("Ordered", session(under(1), under(2), heard(1))),
    "a mark below the start": ("Ordered", session(heard(3), start=7)),
    "silence about what came after the first mark": ("Resumable", session(heard(3), under(5), start=None)),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_true_record_breaks_no_promise(name: str) -> None:
    assert watch_contract([KEPT[name]], LOG) == []


@pytest.mark.parametrize("promise", BROKEN)
def test_each_promise_is_missed_by_name(promise: str) -> None:
    record, said = BROKEN[promise]
    found = [breach for breach in watch_contract([record], LOG) if breach.promise == f"watch {promise}"]
    assert found
    assert said in found[0].detail


@pytest.mark.parametrize("flaw", ALSO_BROKEN)
def test_other_flaws_are_found_too(flaw: str) -> None:
    promise, record = ALSO_BROKEN[flaw]
    assert f"watch {promise}" in {breach.promise for breach in watch_contract([record], LOG)}


def test_sessions_are_read_from_the_watch_calls_of_a_history() -> None:
    answer = [{"revision": 1, "events": [{"kind": "put", "key": "web/a", "value": "1"}]}, {"revision": 1}]
    calls = [
        Call(
            client="w",
            call="watch",
            arguments={"prefix": "web/", "start": 1},
            start=0,
            end=1,
            outcome=Outcome.UNKNOWN,
            answer=answer,
        ),
        Call(client="w", call="get", start=0, end=1, outcome=Outcome.OK),
    ]
    assert sessions_of(calls) == [session(under(1), heard(1))]
