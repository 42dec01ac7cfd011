from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atoll.errors import Compacted, Conflict, StorageFailed
from atoll.settings import Store as StoreSettings
from atoll.store.base import Engine, Revision, Store
from atoll.testing import FakeClock
from tests.contract.store.words import delete, expect, facts, heard, put


async def test_facts_revisions_and_history_are_found_again(engine: Engine, tmp_path: Path, clock: FakeClock) -> None:
    async with engine(tmp_path, StoreSettings(), clock) as store:
        for number in range(20):
            await store.commit([put(f"a/{number % 3}", str(number)), delete(f"a/{(number + 1) % 3}"), put("b", "x")])
        await store.compact(Revision(7))
        before = [await store.list("", revision=Revision(revision)) for revision in range(7, 21)]
        async with store.watch("", start=Revision(8)) as watch:
            story = await heard(watch, 14)
    async with engine(tmp_path, StoreSettings(), clock) as store:
        assert (store.revision, store.compacted) == (20, 7)
        assert [await store.list("", revision=Revision(revision)) for revision in range(7, 21)] == before
        async with store.watch("", start=Revision(8)) as watch:
            assert await heard(watch, 14) == story
        with pytest.raises(Compacted):
            await store.list("", revision=Revision(6))
        with pytest.raises(Conflict):
            await store.commit([put("b")], expect=[expect("b", 19)])
        assert await store.commit([put("b")], expect=[expect("b", 20)]) == 21


async def test_a_revision_is_not_given_twice_even_when_all_is_deleted_and_compacted(
    engine: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    async with engine(tmp_path, StoreSettings(), clock) as store:
        await store.commit([put("a")])
        await store.commit([delete("a")])
        await store.compact(Revision(2))
    async with engine(tmp_path, StoreSettings(), clock) as store:
        assert (store.revision, store.compacted) == (2, 2)
        assert facts(await store.list("")) == {}
        assert await store.commit([put("a")]) == 3
    async with engine(tmp_path, StoreSettings(), clock) as store:
        assert facts(await store.list("")) == {"a": ""}


async def test_a_smaller_history_is_reached_a_little_at_a_time(
    engine: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    async with engine(tmp_path, StoreSettings(history=1000), clock) as store:
        for number in range(300):
            await store.commit([put("a", str(number))])
    async with engine(tmp_path, StoreSettings(history=10), clock) as store:
        steps = [store.compacted]
        while store.compacted < store.revision - 10:
            await store.commit([put("a")])
            steps.append(store.compacted)
        assert len(steps) > 3
        assert store.compacted == store.revision - 10
        assert facts(await store.list("", revision=store.compacted))["a"] == "294"


async def test_closing_finishes_what_was_accepted(engine: Engine, tmp_path: Path, clock: FakeClock) -> None:
    async with engine(tmp_path, StoreSettings(), clock) as store:
        commits = [asyncio.create_task(store.commit([put(f"a/{number}")])) for number in range(20)]
        await asyncio.sleep(0)
        await store.close()
        assert await asyncio.gather(*commits) == list(range(1, 21))
    async with engine(tmp_path, StoreSettings(), clock) as store:
        assert len((await store.list("a/")).entries) == 20


async def test_a_closed_store_refuses_writes_and_watches_and_can_be_closed_again(store: Store) -> None:
    await store.commit([put("a")])
    await store.close()
    await store.close()
    for call in (store.commit([put("b")]), store.grant(10), store.revoke("x"), store.compact(Revision(1))):
        with pytest.raises(StorageFailed):
            await call
    with pytest.raises(StorageFailed):
        async with store.watch(""):
            raise AssertionError("not reached")
    assert facts(await store.list("")) == {"a": ""}


async def test_an_error_of_the_body_comes_out_as_itself(engine: Engine, tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(Conflict):
        async with engine(tmp_path, StoreSettings(), clock) as store:
            await store.commit([], expect=[expect("a", 3)])


async def test_cancelling_the_body_closes_the_store(engine: Engine, tmp_path: Path, clock: FakeClock) -> None:
    opened = asyncio.Event()

    async def body() -> None:
        async with engine(tmp_path, StoreSettings(), clock) as store:
            await store.commit([put("a")])
            opened.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await opened.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with engine(tmp_path, StoreSettings(), clock) as store:
        assert store.revision == 1
