from __future__ import annotations

import asyncio
import random

import pytest

from atoll.errors import Compacted, InvalidValue
from atoll.model.names import Key
from atoll.store.base import Entry, Revision, Store
from tests.contract.store.words import delete, facts, put

WEB = ["web", "web/a", "web/b/c", "web2/a", "web-x/a", "webb", "we/b", "web.a/b", "web+/a", "web0/a"]


async def test_a_prefix_ends_on_a_segment_boundary(store: Store) -> None:
    await store.commit([put(key) for key in WEB])
    assert list(facts(await store.list("web/"))) == ["web/a", "web/b/c"]
    assert list(facts(await store.list("web/b/"))) == ["web/b/c"]
    assert list(facts(await store.list(""))) == sorted(WEB)


@pytest.mark.parametrize("prefix", ["web", "/", "web//", "web/../x/", "web/../", "we b/", "web/\n/", "\0"])
async def test_a_prefix_without_a_segment_boundary_is_refused(store: Store, prefix: str) -> None:
    with pytest.raises(InvalidValue):
        await store.list(prefix)
    with pytest.raises(InvalidValue):
        async with store.watch(prefix):
            raise AssertionError("not reached")


async def test_pages_are_ordered_and_say_whether_more_follows(store: Store) -> None:
    await store.commit([put(f"a/{number}") for number in range(5)] + [put("b/0")])
    page = await store.list("a/", limit=2)
    assert list(facts(page)) == ["a/0", "a/1"]
    assert page.more
    page = await store.list("a/", limit=3, after=Key("a/1"))
    assert list(facts(page)) == ["a/2", "a/3", "a/4"]
    assert not page.more
    assert not (await store.list("a/", limit=5)).more
    assert facts(await store.list("a/", after=Key("a/9"))) == {}
    assert list(facts(await store.list("a/", after=Key("a/00")))) == ["a/1", "a/2", "a/3", "a/4"]


async def test_a_limit_below_one_is_refused(store: Store) -> None:
    with pytest.raises(InvalidValue):
        await store.list("", limit=0)


async def test_an_old_revision_is_listed_as_it_was(store: Store) -> None:
    await store.commit([put("a", "1"), put("b", "1")])
    await store.commit([put("a", "2"), put("c", "2")])
    await store.commit([delete("b")])
    await store.commit([put("b", "4")])
    listings = [await store.list("", revision=Revision(revision)) for revision in range(5)]
    assert list(map(facts, listings)) == [
        {},
        {"a": "1", "b": "1"},
        {"a": "2", "b": "1", "c": "2"},
        {"a": "2", "c": "2"},
        {"a": "2", "b": "4", "c": "2"},
    ]
    assert [listing.revision for listing in listings] == [0, 1, 2, 3, 4]
    assert listings[2].entries[0] == Entry(Key("a"), b"2", Revision(1), Revision(2))
    assert listings[4].entries[1] == Entry(Key("b"), b"4", Revision(4), Revision(4))


async def test_the_future_and_the_forgotten_past_are_refused(store: Store) -> None:
    for number in range(5):
        await store.commit([put("a", str(number))])
    with pytest.raises(InvalidValue):
        await store.list("", revision=Revision(6))
    await store.compact(Revision(3))
    assert store.compacted == 3
    with pytest.raises(Compacted) as caught:
        await store.list("", revision=Revision(2))
    assert caught.value.fields == {"compacted": 3, "revision": 5}
    assert facts(await store.list("", revision=Revision(3))) == {"a": "2"}
    assert facts(await store.list("", revision=Revision(4))) == {"a": "3"}
    assert facts(await store.list("")) == {"a": "4"}


async def test_pages_at_one_revision_make_one_snapshot_during_churn(store: Store) -> None:
    rng = random.Random(9)
    await store.commit([put(f"i/{number:04}", "0") for number in range(1000)])
    stop = asyncio.Event()

    async def churn() -> None:
        while not stop.is_set():
            keys = rng.sample(range(1500), 3)
            await store.commit([put(f"i/{keys[0]:04}", "new"), put(f"i/{keys[1]:04}"), delete(f"i/{keys[2]:04}")])

    churning = asyncio.create_task(churn())
    for _ in range(5):
        page = whole = await store.list("i/")
        page = await store.list("i/", revision=whole.revision, limit=100)
        paged = list(page.entries)
        while page.more:
            await store.commit([put("other")])
            page = await store.list("i/", revision=whole.revision, limit=100, after=paged[-1].key)
            assert page.revision == whole.revision
            paged += page.entries
        assert tuple(paged) == whole.entries
    stop.set()
    await churning
