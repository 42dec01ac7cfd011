from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from atoll.errors import Conflict, InvalidName, InvalidValue
from atoll.model.names import Key
from atoll.store.base import COMMIT_BYTES, COMMIT_LIMIT, VALUE_LIMIT, Entry, Expect, Put, Revision, Store
from tests.contract.store.words import delete, expect, facts, put


async def test_an_empty_store_is_at_revision_zero(store: Store) -> None:
    assert store.revision == 0
    assert store.compacted == 0
    assert await store.get(Key("a/b")) is None
    assert facts(await store.list("")) == {}


async def test_a_commit_is_one_revision_for_all_its_keys(store: Store) -> None:
    assert await store.commit([put("a/1", "x"), put("a/2", "y")]) == 1
    assert store.revision == 1
    assert await store.get(Key("a/1")) == Entry(Key("a/1"), b"x", Revision(1), Revision(1))
    assert await store.get(Key("a/2")) == Entry(Key("a/2"), b"y", Revision(1), Revision(1))


async def test_an_overwritten_key_keeps_its_creation_and_a_new_life_gets_a_new_one(store: Store) -> None:
    await store.commit([put("a", "1")])
    await store.commit([put("a", "2")])
    assert await store.get(Key("a")) == Entry(Key("a"), b"2", Revision(1), Revision(2))
    await store.commit([delete("a")])
    assert await store.get(Key("a")) is None
    await store.commit([put("a", "3")])
    assert await store.get(Key("a")) == Entry(Key("a"), b"3", Revision(4), Revision(4))


async def test_a_commit_that_changes_nothing_makes_no_revision(store: Store) -> None:
    await store.commit([put("a")])
    assert await store.commit([]) == 1
    assert await store.commit([delete("absent"), delete("b/absent")]) == 1
    assert await store.commit([], expect=[expect("a", 1)]) == 1
    assert store.revision == 1


async def test_a_put_of_the_same_value_is_a_revision(store: Store) -> None:
    await store.commit([put("a", "1")])
    assert await store.commit([put("a", "1")]) == 2


async def test_a_failed_expectation_names_the_key_and_nothing_is_done(store: Store) -> None:
    await store.commit([put("a", "1")])
    with pytest.raises(Conflict) as caught:
        await store.commit([put("a", "2"), put("b", "2")], expect=[expect("c"), expect("a", 7)])
    assert caught.value.fields == {"key": "a", "expected": 7, "modified": 1}
    assert facts(await store.list("")) == {"a": "1"}
    assert store.revision == 1


async def test_absence_can_be_expected(store: Store) -> None:
    assert await store.commit([put("a", "1")], expect=[expect("a")]) == 1
    with pytest.raises(Conflict):
        await store.commit([put("a", "2")], expect=[expect("a")])
    await store.commit([delete("a")], expect=[expect("a", 1)])
    assert await store.commit([put("a", "3")], expect=[expect("a")]) == 3


async def test_commits_of_one_moment_are_decided_one_after_the_other(store: Store) -> None:
    first, second, third, fourth = await asyncio.gather(
        store.commit([put("a", "1")], expect=[expect("a")]),
        store.commit([put("a", "2")], expect=[expect("a")]),
        store.commit([put("a", "3")], expect=[expect("a", 1)]),
        store.commit([put("b", "4")]),
        return_exceptions=True,
    )
    assert (first, third, fourth) == (1, 2, 3)
    assert isinstance(second, Conflict)
    assert facts(await store.list("")) == {"a": "3", "b": "4"}


async def test_fifty_writers_of_one_key_have_one_winner_a_revision(store: Store) -> None:
    key, rounds, wins = Key("counter"), 5, dict[int, int]()

    async def writer() -> None:
        done = 0
        while done < rounds:
            entry = await store.get(key)
            value, modified = (int(entry.value), entry.modified) if entry else (0, Revision(0))
            try:
                revision = await store.commit([Put(key, b"%d" % (value + 1))], expect=[Expect(key, modified)])
            except Conflict:
                continue
            assert revision not in wins
            wins[revision] = value + 1
            done += 1

    await asyncio.gather(*(writer() for _ in range(50)))
    assert wins == {revision: revision for revision in range(1, 50 * rounds + 1)}


async def test_no_reader_sees_a_smaller_revision_or_misses_what_was_acknowledged(store: Store) -> None:
    acknowledged = 0
    stop = asyncio.Event()

    async def reader() -> None:
        seen = 0
        while not stop.is_set():
            least = acknowledged
            listing = await store.list("")
            entry = await store.get(Key("a"))
            assert listing.revision >= max(seen, least)
            assert entry is None or entry.modified >= least
            seen = listing.revision
            await asyncio.sleep(0.0005)

    readers = [asyncio.create_task(reader()) for _ in range(3)]
    for number in range(100):
        acknowledged = await store.commit([put("a", str(number))])
    stop.set()
    await asyncio.gather(*readers)


async def test_a_cancelled_caller_disturbs_nobody(store: Store) -> None:
    rng = random.Random(7)
    for number in range(30):
        calls = [asyncio.create_task(store.commit([put(f"k/{number}-{place}")])) for place in range(5)]
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        calls[rng.randrange(5)].cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        kept = facts(await store.list("k/"))
        for place, outcome in enumerate(done):
            if not isinstance(outcome, asyncio.CancelledError):
                assert isinstance(outcome, int)
                assert f"k/{number}-{place}" in kept
    assert await store.commit([put("after")]) == store.revision


HOSTILE = [
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    "web/../x",
    "web/.",
    "a b",
    "a\nb",
    "a\0b",
    'a"b',
    "a;b",
    "%[x]",
    "${x}",
    "\x1b[31m",
    "é",
    "a" * 513,
]


@pytest.mark.parametrize("key", HOSTILE)
async def test_a_key_outside_the_grammar_is_refused_everywhere_in_a_commit(store: Store, key: str) -> None:
    for operation in (put(key), delete(key)):
        with pytest.raises(InvalidName):
            await store.commit([operation])
    with pytest.raises(InvalidName):
        await store.commit([put("a")], expect=[expect(key)])
    assert store.revision == 0


LARGE = b"x" * VALUE_LIMIT
REFUSED: dict[str, list[Any]] = {
    "too many operations": [put(f"a/{number}") for number in range(COMMIT_LIMIT + 1)],
    "a value too large": [Put(Key("a"), LARGE + b"x")],
    "values too large together": [Put(Key(f"a/{number}"), LARGE) for number in range(COMMIT_BYTES // VALUE_LIMIT + 1)],
    "a key twice": [put("a", "1"), delete("a")],
    "a lease that is not known": [put("a", "1", lease="nobody")],
    "a value that is not bytes": [Put(Key("a"), "text")],  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_commit_over_its_limits_is_refused_as_a_whole(store: Store, case: str) -> None:
    with pytest.raises(InvalidValue):
        await store.commit([put("fine"), *REFUSED[case]])
    assert store.revision == 0
    assert await store.get(Key("fine")) is None


async def test_a_commit_at_its_limits_is_taken(store: Store) -> None:
    await store.commit([put(f"a/{number:04}") for number in range(COMMIT_LIMIT)])
    assert len((await store.list("a/")).entries) == COMMIT_LIMIT
    await store.commit([Put(Key("b"), LARGE)])
    entry = await store.get(Key("b"))
    assert entry is not None
    assert entry.value == LARGE
    await store.commit([delete(f"a/{number:04}") for number in range(COMMIT_LIMIT)])
    assert [entry.key for entry in (await store.list("")).entries] == ["b"]
