from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from atoll import settings
from atoll.model.answers import Record, Verb
from atoll.model.keys import history_key
from atoll.model.names import InstanceId, Key, ServiceName
from atoll.model.service import Instance, State
from atoll.model.snapshot import decode
from atoll.registry.history import Journal, prunable, replay, stamp
from atoll.testing import FakeClock
from tests.unit.registry.stage import open_memory_at, staged

ORDERS = ServiceName("orders")


def record(at: float, instance: str, *, state: State = State.PASSING, gone: bool = False, weight: int = 1) -> Record:
    return Record(
        at=at,
        verb=Verb.EXPIRED if gone else Verb.REGISTERED,
        service=ORDERS,
        instance=instance,
        endpoint="127.0.0.1:1",
        state=state,
        weight=weight,
        gone=gone,
    )


def test_replay_takes_the_newest_word_on_each_instance() -> None:
    records = [
        record(1, "a"),
        record(2, "b"),
        record(3, "a", state=State.FAILING),
        record(4, "b", gone=True),
        record(5, "c", weight=0),
        record(6, "a", state=State.SUSPECT),
        record(7, "d", state=State.MAINT),
    ]
    assert [found.instance for found in replay(records, 2.5)] == ["a", "b"]
    assert [found.instance for found in replay(records, 3.5)] == ["b"]
    assert [found.instance for found in replay(records, 99)] == ["a"]


def key(at: float, order: int = 0) -> Key:
    return history_key(ORDERS, at, order)


def test_old_records_go_but_the_newest_one_of_whoever_was_still_there() -> None:
    found = [
        (key(1), "stays", False),
        (key(2), "stays", False),
        (key(3), "left", False),
        (key(4), "left", True),
        (key(90), "stays", False),
    ]
    assert set(prunable(found, horizon=50, limit=100)) == {key(1), key(3), key(4)}


def test_the_oldest_go_when_there_are_too_many() -> None:
    found = [(key(at), "a", False) for at in range(10)]
    assert set(prunable(found, horizon=0, limit=4)) == {key(at) for at in range(5)}, "the sixth speaks for `a` then"


events = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from("abc"), st.booleans()),
    min_size=1,
    max_size=30,
    unique_by=lambda e: e[0],
)


@given(events, st.integers(0, 60), st.integers(0, 60))
def test_pruning_never_changes_who_could_receive_traffic_after_the_horizon(
    happened: list[tuple[int, str, bool]], horizon: int, asked: int
) -> None:
    records = [record(float(at), who, gone=gone) for at, who, gone in sorted(happened)]
    doomed = set(prunable([(key(one.at), one.instance, one.gone) for one in records], horizon=horizon, limit=1000))
    left = [one for one in records if key(one.at) not in doomed]
    at = float(max(horizon, asked))
    assert replay(left, at) == replay(records, at)


def test_time_never_goes_back_in_a_journal() -> None:
    journal = Journal()
    instance = Instance(service=ORDERS, id=InstanceId("a"), host="127.0.0.1", port=1)
    walls = [100.0, 100.0, 40.0, 99.9, 101.0]
    written = [journal.write(Verb.CHANGED, instance, wall) for wall in walls]
    keys = [put.key for put in written]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert [decode(put.value, Record).skewed for put in written] == [False, False, True, False, False]
    assert stamp(keys[-1]) == 101.0


async def test_history_is_pruned_by_count_and_still_answers_for_who_is_there() -> None:
    knobs = dataclasses.replace(settings.Registry(), history_limit=20)
    async with staged(knobs=knobs) as stage:
        held = await stage.register("orders", "steady", 9001)
        for number in range(30):
            await stage.register("orders", "noisy", 9002, weight=number + 1)
        await stage.pass_time(10, held)
        records = await stage.history("orders")
        assert len(records) <= 20 + 2 + 1, "a tenth of slack between two looks, and what is spared"
        now = stage.clock.wall()
        found = await stage.archive.receivers(ORDERS, now)
        assert [one.instance for one in found.receivers] == ["noisy", "steady"]


async def test_history_is_queried_newest_first_limited_and_between_times() -> None:
    async with staged() as stage:
        for number in range(10):
            await stage.register("orders", "o-1", 9001, weight=number + 1)
            await stage.clock.advance(1)
        found = await stage.archive.query(ORDERS, since=0, until=1e11, limit=3)
        assert [one.weight for one in found.records] == [8, 9, 10]
        assert found.more
        older = await stage.archive.query(ORDERS, since=0, until=found.records[0].at, limit=3)
        assert [one.weight for one in older.records] == [5, 6, 7]
        start = (await stage.history("orders"))[0].at
        some = await stage.archive.query(ORDERS, since=start + 2, until=start + 5, limit=100)
        assert [one.weight for one in some.records] == [3, 4, 5]
        assert not some.more


async def test_a_restart_within_the_same_millisecond_or_after_the_clock_went_back_overwrites_nothing() -> None:
    clock = FakeClock()
    async with open_memory_at(clock) as store:
        async with staged(clock=clock, store=store) as before:
            await before.register("orders", "a", 9001)
        async with staged(clock=clock, store=store) as after:
            await after.register("orders", "b", 9002)
        clock.set_wall(clock.wall() - 86_400)
        async with staged(clock=clock, store=store) as again:
            await again.register("orders", "c", 9003)
            records = await again.history("orders")
    assert [record.instance for record in records] == ["a", "b", "c"]
    assert records[2].skewed
