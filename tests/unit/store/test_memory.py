from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from atoll.errors import Overloaded, StorageFailed, StorageFull
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store import memory
from atoll.store.base import Expect, Put
from atoll.store.draft import Draft
from atoll.store.memory import Answers, MemoryStore, open_memory, running
from atoll.testing import FakeClock, settle


def put(key: str, value: bytes = b"") -> Put:
    return Put(Key(key), value)


class SlowStore(MemoryStore):
    """Keeps a group when the test says so."""

    kept: list[tuple[Draft, Answers]]

    def _keep(self, draft: Draft, answers: Answers) -> None:
        self.kept = [*getattr(self, "kept", []), (draft, answers)]

    def finish(self, error: StorageFull | StorageFailed | None = None) -> int:
        draft, answers = self.kept.pop()
        self._kept(draft, answers, error)
        self._pump()
        return len(answers)


def slow(clock: FakeClock) -> AbstractAsyncContextManager[SlowStore]:
    return running(lambda tasks: SlowStore(StoreSettings(), clock, tasks))


async def test_writes_that_arrive_while_one_is_written_share_the_next_group() -> None:
    async with slow(FakeClock()) as store:
        calls = [asyncio.create_task(store.commit([put(f"a/{number}")])) for number in range(5)]
        await settle()
        assert (store.finish(), store.finish()) == (1, 4)
        assert await asyncio.gather(*calls) == [1, 2, 3, 4, 5]


async def test_nothing_is_seen_of_a_write_before_it_is_kept() -> None:
    async with slow(FakeClock()) as store, store.watch("") as watch:
        await anext(watch)
        call = asyncio.create_task(store.commit([put("a")]))
        hearing = asyncio.ensure_future(anext(watch))
        await settle()
        assert (store.revision, await store.get(Key("a")), call.done(), hearing.done()) == (0, None, False, False)
        store.finish()
        assert (await call, (await hearing).revision, store.revision) == (1, 1, 1)


async def test_a_conflict_with_a_write_that_is_lost_is_not_told_as_a_conflict() -> None:
    async with slow(FakeClock()) as store:
        first = asyncio.create_task(store.commit([put("z")]))
        await settle()
        winner = asyncio.create_task(store.commit([put("a")]))
        loser = asyncio.create_task(store.commit([put("a")], expect=[Expect(Key("a"))]))
        await settle()
        store.finish()
        store.finish(StorageFull("no room"))
        outcomes = await asyncio.gather(first, winner, loser, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [int, StorageFull, StorageFull]


async def test_a_cancelled_write_that_had_not_begun_does_not_happen() -> None:
    async with slow(FakeClock()) as store:
        first = asyncio.create_task(store.commit([put("a")]))
        await settle()
        second = asyncio.create_task(store.commit([put("b")]))
        await settle()
        second.cancel()
        await settle()
        store.finish()
        await first
        assert store.revision == 1
        assert store.kept == []


async def test_a_keep_alive_of_a_lease_whose_end_is_being_written_waits_for_how_that_ends() -> None:
    clock = FakeClock()
    async with slow(clock) as store:
        granting = asyncio.create_task(store.grant(10))
        await settle()
        store.finish()
        lease = await granting
        await clock.advance(10)
        renewing = asyncio.create_task(store.keep_alive(lease))
        await settle()
        assert not renewing.done()
        store.finish(StorageFull("no room"))
        assert await renewing == 10


async def test_writes_beyond_the_limit_of_waiting_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PENDING_LIMIT", 3)
    async with slow(FakeClock()) as store:
        calls = [asyncio.create_task(store.commit([put(f"a/{number}")])) for number in range(6)]
        await settle()
        store.finish()
        store.finish()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [int, int, int, int, Overloaded, Overloaded]


async def test_a_caller_s_bug_is_its_own() -> None:
    def bug(_: Draft) -> None:
        raise ZeroDivisionError

    async with slow(FakeClock()) as store:
        first = asyncio.create_task(store.commit([put("a")]))
        await settle()
        calls = [asyncio.create_task(store.commit([put("b")])), asyncio.create_task(store._ask(bug))]
        await settle()
        store.finish()
        store.finish()
        outcomes = await asyncio.gather(first, *calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [int, int, ZeroDivisionError]


async def test_open_watches_and_resyncs_are_counted() -> None:
    async with open_memory(StoreSettings(watcher_backlog=2), FakeClock()) as store:
        before = len(asyncio.all_tasks())
        async with store.watch("a/"), store.watch("a/"), store.watch("b/"):
            assert (store.watches.open_count, store.watches.resyncs) == (3, 0)
            for _ in range(4):
                await store.commit([put("a/x")])
            assert (store.watches.open_count, store.watches.resyncs) == (3, 2)
        assert store.watches.open_count == 0
        await settle()
        assert len(asyncio.all_tasks()) == before


async def test_watchers_of_a_prefix_share_what_they_are_told_with_the_history() -> None:
    async with open_memory(clock=FakeClock()) as store, store.watch("a/") as one, store.watch("a/") as two:
        await store.commit([put("a/1"), put("b/1")])
        await store.commit([put("a/1")])
        heard = [[await anext(watch) for _ in range(3)] for watch in (one, two)]
        assert heard[0][1] is heard[1][1]
        assert heard[0][2] is heard[1][2] is store._image.log[store.revision].change
