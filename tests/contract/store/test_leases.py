from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atoll.errors import InvalidValue, LeaseExpired
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store.base import TTL_LIMIT, Engine, Store
from atoll.testing import FakeClock
from tests.contract.store.words import delete, facts, heard, put


async def test_a_lease_that_lapses_takes_its_keys_in_one_commit(store: Store, clock: FakeClock) -> None:
    lease = await store.grant(10)
    await store.commit([put("b", "1", lease), put("a", "1"), put("c", "1", lease)])
    async with store.watch("", progress=99) as watch:
        await clock.advance(9.9)
        assert len(facts(await store.list(""))) == 3
        await clock.advance(0.2)
        assert await heard(watch, 2) == ["1", "2 -b -c"]
    with pytest.raises(LeaseExpired):
        await store.keep_alive(lease)


async def test_a_lease_that_is_kept_alive_does_not_lapse(store: Store, clock: FakeClock) -> None:
    lease, other = await store.grant(10), await store.grant(10)
    await store.commit([put("a", "", lease), put("b", "", other)])
    async with store.watch("", progress=999) as watch:
        for _ in range(10):
            await clock.advance(6)
            assert await store.keep_alive(lease) == 10
        assert await heard(watch, 2) == ["1", "2 -b"]
        await clock.advance(10)
        assert await heard(watch, 1) == ["3 -a"]


async def test_a_shorter_lease_granted_later_lapses_in_its_own_time(store: Store, clock: FakeClock) -> None:
    await store.grant(1000)
    await clock.advance(100)
    lease = await store.grant(1)
    await store.commit([put("a", "", lease)])
    async with store.watch("", progress=999) as watch:
        await clock.advance(1.1)
        assert await heard(watch, 2) == ["1", "2 -a"]


async def test_a_revoked_lease_takes_its_keys_at_once_and_revoking_again_is_no_error(store: Store) -> None:
    lease = await store.grant(10)
    await store.commit([put("a", "1", lease), put("b", "1", lease)])
    await store.revoke(lease)
    assert store.revision == 2
    assert facts(await store.list("")) == {}
    await store.revoke(lease)
    await store.revoke("never known")
    assert store.revision == 2
    with pytest.raises(LeaseExpired):
        await store.keep_alive(lease)
    with pytest.raises(InvalidValue):
        await store.commit([put("a", "1", lease)])


async def test_a_lease_without_keys_ends_without_a_revision(store: Store, clock: FakeClock) -> None:
    lease = await store.grant(1)
    await store.revoke(lease)
    assert store.revision == 0


async def test_a_key_belongs_to_the_lease_it_was_put_with_last(store: Store) -> None:
    one, two = await store.grant(10), await store.grant(10)
    await store.commit([put("moved", "", one), put("freed", "", one), put("gone", "", one), put("kept", "", one)])
    await store.commit([put("moved", "", two), put("freed"), delete("gone")])
    await store.revoke(one)
    assert list(facts(await store.list(""))) == ["freed", "moved"]
    await store.revoke(two)
    assert list(facts(await store.list(""))) == ["freed"]


async def test_requests_of_one_moment_are_decided_in_order_around_the_end_of_a_lease(store: Store) -> None:
    lease = await store.grant(10)
    first, second, third = await asyncio.gather(
        store.commit([put("a", "", lease)]),
        store.revoke(lease),
        store.commit([put("b", "", lease)]),
        return_exceptions=True,
    )
    assert (first, second) == (1, None)
    assert isinstance(third, InvalidValue)
    assert facts(await store.list("")) == {}


async def test_leases_outlive_the_store_and_their_time_starts_anew_when_it_is_opened(
    engine: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    async with engine(tmp_path, StoreSettings(), clock) as store:
        lease = await store.grant(10)
        await store.commit([put("a", "", lease)])
        await clock.advance(9)
    await clock.advance(100)
    async with engine(tmp_path, StoreSettings(), clock) as store, store.watch("", progress=999) as watch:
        await clock.advance(9)
        assert await store.get(Key("a")) is not None
        await clock.advance(1)
        assert await heard(watch, 2) == ["1", "2 -a"]


async def test_the_time_in_which_the_process_was_paused_is_given_back(store: Store, clock: FakeClock) -> None:
    lease = await store.grant(10)
    await store.commit([put("a", "", lease)])
    await clock.advance(4.5)
    clock.stall(60)
    await clock.advance(4)
    assert await store.keep_alive(lease) == 10
    async with store.watch("", progress=999) as watch:
        await clock.advance(10)
        assert await heard(watch, 2) == ["1", "2 -a"]


@pytest.mark.parametrize("ttl", [0, -1, 0.5, float("nan"), float("inf"), 1e30, TTL_LIMIT + 1, "10", None])
async def test_an_absurd_ttl_is_refused(store: Store, ttl: float) -> None:
    with pytest.raises(InvalidValue):
        await store.grant(ttl)
