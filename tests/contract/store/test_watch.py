from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atoll.errors import Compacted, InvalidValue, Resync
from atoll.settings import Store as StoreSettings
from atoll.store.base import Change, Engine, Revision, Store
from atoll.testing import FakeClock, settle
from tests.contract.store.conftest import SMALL
from tests.contract.store.words import delete, facts, heard, put, said


async def test_a_watch_replays_history_then_marks_its_end_then_goes_on_live(store: Store) -> None:
    await store.commit([put("a/1", "x")])
    await store.commit([put("b/1", "y")])
    await store.commit([delete("a/1")])
    async with store.watch("a/", start=Revision(1)) as watch:
        await store.commit([put("a/2", "z")])
        assert await heard(watch, 4) == ["1 +a/1=x", "3 -a/1", "3", "4 +a/2=z"]


async def test_a_watch_without_a_start_begins_after_now(store: Store) -> None:
    await store.commit([put("a/1")])
    async with store.watch("a/") as watch:
        await store.commit([put("a/2")])
        assert await heard(watch, 2) == ["1", "2 +a/2="]


async def test_a_commit_is_told_whole_and_only_what_is_under_the_prefix(store: Store) -> None:
    async with store.watch("web/") as watch, store.watch("") as everything:
        await store.commit([put("web2/a"), put("web"), put("webb/c")])
        await store.commit([put("web/b", "1"), put("web2/a", "2"), put("web/a", "3")])
        await store.commit([delete("web"), delete("web/a"), delete("web2/a"), put("web/c"), delete("absent")])
        assert await heard(watch, 3) == ["0", "2 +web/b=1 +web/a=3", "3 -web/a +web/c="]
        assert await heard(everything, 4) == [
            "0",
            "1 +web2/a= +web= +webb/c=",
            "2 +web/b=1 +web2/a=2 +web/a=3",
            "3 -web -web/a -web2/a +web/c=",
        ]


async def test_a_delete_tells_the_entry_as_it_was(store: Store) -> None:
    await store.commit([put("a", "last words")])
    was = (await store.list("")).entries[0]
    async with store.watch("") as watch:
        await store.commit([delete("a")])
        await anext(watch)
        (event,) = (await anext(watch)).events
        assert (event.entry, event.revision) == (was, 2)


async def test_a_future_start_waits_and_tells_nothing_older(store: Store, clock: FakeClock) -> None:
    async with store.watch("a/", start=Revision(5)) as watch:
        for number in range(1, 7):
            await store.commit([put("a/x", str(number))])
        assert await heard(watch, 3) == ["4", "5 +a/x=5", "6 +a/x=6"]


async def test_a_mark_of_a_future_watch_can_be_resumed_from(store: Store, clock: FakeClock) -> None:
    async with store.watch("", start=Revision(100), progress=5) as watch:
        assert await heard(watch, 1) == ["99"]
        await store.commit([put("a")])
        await clock.advance(5)
        assert await heard(watch, 1) == ["99"]


async def test_silence_is_broken_by_progress_marks(store: Store, clock: FakeClock) -> None:
    async with store.watch("a/", progress=5) as watch:
        assert await heard(watch, 1) == ["0"]
        await store.commit([put("b/1")])
        await clock.advance(5)
        assert await heard(watch, 1) == ["1"]
        await store.commit([put("b/2")])
        await clock.advance(4)
        await store.commit([put("a/1")])
        assert await heard(watch, 1) == ["3 +a/1="]
        await clock.advance(4)
        quiet = asyncio.ensure_future(anext(watch))
        await settle()
        assert not quiet.done()
        await clock.advance(1)
        assert said(await quiet) == "3"


async def test_marks_do_not_pile_up_for_a_reader_that_is_away(store: Store, clock: FakeClock) -> None:
    async with store.watch("a/", progress=1) as watch:
        await heard(watch, 1)
        await clock.advance(10)
        await store.commit([put("a/1")])
        assert await heard(watch, 1) == ["1 +a/1="]
        waiting = asyncio.ensure_future(anext(watch))
        await settle()
        assert not waiting.done()
        waiting.cancel()


@pytest.mark.parametrize("progress", [0.0, -1.0, float("nan")])
async def test_a_progress_interval_must_be_above_zero(store: Store, progress: float) -> None:
    with pytest.raises(InvalidValue):
        async with store.watch("", progress=progress):
            raise AssertionError("not reached")


async def test_a_watcher_that_falls_behind_is_told_to_resync_and_others_are_not(small: Store) -> None:
    async with small.watch("a/") as slow, small.watch("a/") as quick, small.watch("b/") as elsewhere:
        heard_by_quick = await heard(quick, 1)
        for number in range(SMALL.watcher_backlog + 1):
            await small.commit([put("a/x", str(number))])
            heard_by_quick += await heard(quick, 1)
        assert heard_by_quick == ["0", *(f"{number + 1} +a/x={number}" for number in range(9))]
        for _ in range(2):
            with pytest.raises(Resync):
                await anext(slow)
        await small.commit([put("b/x")])
        assert await heard(elsewhere, 2) == ["0", "10 +b/x="]


async def test_a_watcher_at_its_limit_is_not_told_to_resync(small: Store) -> None:
    async with small.watch("a/") as watch:
        for number in range(SMALL.watcher_backlog):
            await small.commit([put("a/x", str(number))])
        assert len(await heard(watch, 1 + SMALL.watcher_backlog)) == 9


async def test_unread_changes_are_bounded_in_bytes_but_one_is_always_taken(
    engine: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    async with engine(tmp_path, StoreSettings(watcher_bytes=100), clock) as store, store.watch("") as watch:
        await heard(watch, 1)
        await store.commit([put("a", "x" * 1000)])
        assert len(await heard(watch, 1)) == 1
        await store.commit([put("a", "x" * 60)])
        await store.commit([put("a", "x" * 60)])
        with pytest.raises(Resync):
            await anext(watch)


async def test_a_replay_longer_than_the_backlog_is_delivered(small: Store) -> None:
    for number in range(30):
        await small.commit([put("a", str(number))])
    async with small.watch("", start=Revision(1)) as watch:
        for number in range(SMALL.watcher_backlog):
            await small.commit([put("b", str(number))])
        assert len(await heard(watch, 30 + 1 + SMALL.watcher_backlog)) == 39


async def test_history_over_its_limit_is_compacted_in_the_background(small: Store) -> None:
    for number in range(100):
        await small.commit([put(f"a/{number % 7}", str(number))])
    assert small.compacted == 60
    with pytest.raises(Compacted):
        async with small.watch("", start=Revision(60)):
            raise AssertionError("not reached")
    async with small.watch("", start=Revision(61)) as watch:
        assert (await heard(watch, 41))[0::40] == ["61 +a/4=60", "100"]
    assert facts(await small.list("")) == {f"a/{n % 7}": str(n) for n in range(93, 100)}


async def test_history_is_bounded_in_bytes(engine: Engine, tmp_path: Path, clock: FakeClock) -> None:
    async with engine(tmp_path, StoreSettings(history_bytes=1000), clock) as store:
        for _ in range(10):
            await store.commit([put("a", "x" * 400)])
        assert store.compacted == 8


async def test_a_resume_before_the_compaction_point_lists_and_watches_on_and_misses_nothing(store: Store) -> None:
    rng = random.Random(3)
    for _ in range(60):
        await store.commit([put(f"a/{rng.randrange(9)}"), delete(f"a/{rng.randrange(9, 12)}")])
    await store.compact(Revision(store.revision - 5))
    with pytest.raises(Compacted):
        async with store.watch("a/", start=Revision(2)):
            raise AssertionError("not reached")
    listing = await store.list("a/")
    known = facts(listing)
    async with store.watch("a/", start=Revision(listing.revision + 1)) as watch:
        for _ in range(40):
            await store.commit([put(f"a/{rng.randrange(9)}", str(rng.random())), delete(f"a/{rng.randrange(9, 12)}")])
        while (change := await anext(watch)).revision < store.revision:
            follow(known, change)
        follow(known, change)
    assert known == facts(await store.list("a/"))


async def test_compaction_leaves_open_watches_what_they_have_not_read(store: Store) -> None:
    await store.commit([put("a", "1")])
    async with store.watch("", start=Revision(1)) as watch:
        await store.commit([put("a", "2")])
        await store.commit([delete("a")])
        await store.compact(store.revision)
        assert await heard(watch, 4) == ["1 +a=1", "1", "2 +a=2", "3 -a"]


async def test_compaction_beside_deletes_and_new_watches_loses_no_delete(store: Store) -> None:
    seen: dict[int, str] = {}

    async def watcher(start: Revision) -> None:
        try:
            async with store.watch("k/", start=start) as watch:
                async for change in watch:
                    assert change.revision >= start or not change.events
                    for event in change.events:
                        assert seen.setdefault(event.revision, event.kind) == event.kind
                    if change.revision >= 200:
                        return
        except Compacted:
            assert start <= store.compacted

    watchers = []
    for number in range(100):
        await store.commit([put(f"k/{number % 5}")])
        if number % 3 == 0:
            watchers.append(asyncio.create_task(watcher(Revision(max(1, store.revision - 2)))))
        compaction = asyncio.create_task(store.compact(store.revision))
        await store.commit([delete(f"k/{number % 5}")])
        await compaction
    await asyncio.gather(*watchers)
    assert seen == {revision: "put" if revision % 2 else "delete" for revision in range(1, 201)}


@pytest.mark.parametrize("revision", [6, 10**9])
async def test_the_future_cannot_be_compacted(store: Store, revision: int) -> None:
    for _ in range(5):
        await store.commit([put("a")])
    with pytest.raises(InvalidValue):
        await store.compact(Revision(revision))
    assert store.compacted == 0


async def test_compacting_what_is_compacted_does_nothing(store: Store) -> None:
    for _ in range(5):
        await store.commit([put("a")])
    for revision in (4, 4, 2, 0, -1):
        await store.compact(Revision(revision))
    assert store.compacted == 4


async def test_cancelling_a_reader_loses_no_change(store: Store) -> None:
    rng = random.Random(5)
    got: list[int] = []
    async with store.watch("a/") as watch:
        writing = asyncio.create_task(write(store, 100))
        while len(got) < 101:
            reading = asyncio.ensure_future(anext(watch))
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0.0002)
            reading.cancel()
            try:
                got.append((await reading).revision)
            except asyncio.CancelledError:
                await asyncio.sleep(0.0002)
        await writing
    assert got == list(range(101))


async def test_a_watcher_cancelled_at_any_moment_leaves_nothing_behind_and_costs_the_other_nothing(
    store: Store,
) -> None:
    before = len(asyncio.all_tasks())
    async with store.watch("a/") as other:
        for turns in range(12):

            async def reader() -> None:
                async with store.watch("a/", start=Revision(1)) as watch:
                    async for _ in watch:
                        await asyncio.sleep(0)

            task = asyncio.create_task(reader())
            for turn in range(turns):
                if turn % 4 == 0:
                    await store.commit([put("a/x", str(turn))])
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        revisions = [int(line.split()[0]) for line in await heard(other, store.revision + 1)]
        assert revisions == list(range(store.revision + 1))
    await settle()
    assert len(asyncio.all_tasks()) == before


async def test_many_watchers_and_writers_at_once_all_hear_the_same_story(store: Store) -> None:
    async def follow_until(watch: AsyncIterator[Change], last: int) -> list[str]:
        story = []
        while (change := await anext(watch)).revision < last:
            story += [said(change)] if change.events else []
        return [*story, said(change)]

    total = 4 * 30
    async with asyncio.timeout(20):
        async with store.watch("a/") as first, store.watch("a/") as second, store.watch("") as third:
            stories = asyncio.gather(*(follow_until(watch, total) for watch in (first, second, third)))
            await asyncio.gather(*(write(store, 30) for _ in range(4)))
            one, two, three = await stories
    assert one == two == three
    assert [int(line.split()[0]) for line in one] == list(range(1, total + 1))
    async with store.watch("a/", start=Revision(1)) as replay:
        assert await heard(replay, total) == one


async def test_a_closing_store_ends_its_watches_after_what_they_have_not_read(store: Store) -> None:
    async with store.watch("") as watch:
        waiting = asyncio.ensure_future(anext(watch))
        await store.commit([put("a")])
        await store.close()
        assert said(await waiting) == "0"
        assert await heard(watch, 1) == ["1 +a="]
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


def follow(known: dict[str, str], change: Change) -> None:
    for event in change.events:
        if event.kind == "put":
            known[event.entry.key] = event.entry.value.decode()
        else:
            del known[event.entry.key]


async def write(store: Store, count: int) -> None:
    for number in itertools.count():
        if number == count:
            return
        await store.commit([put("a/x", str(number))])
