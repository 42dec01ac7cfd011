"""C6: one bit of the database file flips: it is refused with the way back, or it did not matter; never a wrong answer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from atoll.errors import AtollError
from atoll.kit.clock import SystemClock
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store.base import Delete, Put, Revision
from atoll.store.sqlite import SqliteStore, open_store
from tests.fault.faults.corruption import flip
from tests.fault.scenario import Scenario
from tests.fault.stores import entries_of, log_of


async def knowledge(store: SqliteStore) -> dict[str, Any]:
    """All that it can ever tell anybody."""
    return {
        "entries": await entries_of(store),
        "log": await log_of(store),
        "revision": store.revision,
        "compacted": store.compacted,
        "leases": dict(store._image.leases),
    }


async def made(folder: Path) -> dict[str, Any]:
    """A closed store with several pages of everything: history, compacted history, deletes, leases."""
    async with open_store(folder, StoreSettings(), SystemClock()) as store:
        leases = [await store.grant(3600.0) for _ in range(40)]
        for number in range(150):
            value = f"value {number} ".encode() * (1 + number % 40)
            bound = leases[number % 40] if number % 5 == 0 else None
            await store.commit([Put(Key(f"web/{number % 60}"), value, bound), Put(Key(f"api/{number}"), b"1")])
            if number % 7 == 0:
                await store.commit([Delete(Key(f"api/{number}"))])
        await store.compact(Revision(60))
        return await knowledge(store)


async def test_a_flipped_bit_is_refused_with_the_way_back_or_changes_nothing(scenario: Scenario) -> None:
    truth = await made(scenario.state())
    size = (scenario.state() / "state.db").stat().st_size
    refused = same = 0
    wrong: list[str] = []
    for _ in range(scenario.times(60, 3000)):
        hurt = scenario.folder / "hurt"
        shutil.copytree(scenario.state(), hurt)
        offset, bit = scenario.rng.randrange(size), scenario.rng.randrange(8)
        flip(hurt / "state.db", offset, bit)
        try:
            async with open_store(hurt, StoreSettings(), SystemClock()) as store:
                found = await knowledge(store)
                different = [name for name in truth if found[name] != truth[name]]
                if different:
                    wrong.append(f"bit {bit} of byte {offset}: other {', '.join(different)}")
                same += not different
        except AtollError as error:
            assert error.code in {"storage-failed", "storage-incompatible"}, (offset, bit, error)
            assert error.hint, (offset, bit, error)
            refused += 1
        shutil.rmtree(hurt)
    scenario.measured(flips=refused + same + len(wrong), refused=refused, harmless=same, wrong=len(wrong))
    assert wrong == []
    assert refused > 0
