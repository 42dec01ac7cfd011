"""Any sequence of operations leaves an engine and the dict model the same (faults.md B1)."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from atoll.errors import Compacted, Conflict, InvalidValue, LeaseExpired
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store.base import Change, Delete, Engine, Entry, Expect, Put, Revision, Store
from atoll.testing import FakeClock, settle
from tests.contract.store.conftest import ENGINES
from tests.model.store_model import Model, Said, Value

T = TypeVar("T")
KEYS = ["a", "a/1", "a/2", "a/b/1", "a2/1", "b/1"]
PREFIXES = ["", "a/", "a/b/", "b/", "c/"]
keys = st.sampled_from(KEYS)
values = st.text("xyz", max_size=3)
TTL = 10.0
SETTINGS = StoreSettings(history=1000)


class StoreMachine(RuleBasedStateMachine):
    engine_name: ClassVar[str]
    leases = Bundle("leases")
    watches = Bundle("watches")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="atoll-model-"))
        self.clock = FakeClock()
        self.engine: Engine = ENGINES[self.engine_name]()
        self.model = Model()
        self.watching: dict[int, tuple[AsyncIterator[Change], str, int]] = {}
        self.open()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(10):
                return await work

        return self.runner.run(bounded())

    def open(self) -> None:
        self.stack = AsyncExitStack()
        self.store: Store = self.do(self.stack.enter_async_context(self.engine(self.folder, SETTINGS, self.clock)))

    @rule(
        puts=st.dictionaries(keys, st.tuples(values, st.none() | leases), max_size=4),
        deletes=st.sets(keys, max_size=3),
        expected=st.lists(st.tuples(keys, st.booleans()), max_size=2),
    )
    def commit(
        self, puts: dict[str, tuple[str, str | None]], deletes: set[str], expected: list[tuple[str, bool]]
    ) -> None:
        deletes = deletes - puts.keys()
        operations = [Put(Key(key), value.encode(), lease) for key, (value, lease) in puts.items()]
        removals = [Delete(Key(key)) for key in sorted(deletes)]
        modified = {key: self.model.now[key][2] if key in self.model.now else 0 for key in KEYS}
        expect = [Expect(Key(key), Revision(modified[key] + (0 if right else 1))) for key, right in expected]
        call = self.store.commit([*operations, *removals], expect=expect)
        if not all(right for _, right in expected):
            with pytest.raises(Conflict):
                self.do(call)
        elif any(lease is not None and lease not in self.model.leases for _, lease in puts.values()):
            with pytest.raises(InvalidValue):
                self.do(call)
        else:
            assert self.do(call) == self.model.commit(puts, deletes)

    @rule(target=leases)
    def grant(self) -> str:
        lease = self.do(self.store.grant(TTL))
        self.model.leases[lease] = None
        return lease

    @rule(lease=consumes(leases))
    def revoke(self, lease: str) -> None:
        self.do(self.store.revoke(lease))
        if lease in self.model.leases:
            self.model.end(lease)

    @rule(lease=leases)
    def keep_alive(self, lease: str) -> None:
        if lease in self.model.leases:
            assert self.do(self.store.keep_alive(lease)) == TTL
        else:
            with pytest.raises(LeaseExpired):
                self.do(self.store.keep_alive(lease))

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data())
    def lapse_all_but_one(self, data: st.DataObject) -> None:
        kept = data.draw(st.sampled_from(tuple(self.model.leases)))
        for seconds in (TTL / 2 + 1, TTL / 2):
            self.do(self.store.keep_alive(kept))
            self.do(self.clock.advance(seconds))
            self.do(self.store.revoke("nobody"))  # answered after the lapses of that time
            self.do(settle())
        # Leases end in the order of their deadlines, which the model does not know: it takes it from what was written.
        for lease in sorted((lease for lease in self.model.leases if lease != kept), key=self.ended_at):
            self.model.end(lease)

    def ended_at(self, lease: str) -> int:
        owned = [key for key, value in self.model.now.items() if value[3] == lease]
        if not owned:
            return 0

        async def read() -> int:
            async with self.store.watch("", start=Revision(self.model.revision + 1)) as watch:
                while True:
                    change = await anext(watch)
                    if any(event.kind == "delete" and event.entry.key == owned[0] for event in change.events):
                        return change.revision

        return self.do(read())

    @rule(target=watches, prefix=st.sampled_from(PREFIXES), back=st.integers(-3, 12))
    def watch(self, prefix: str, back: int) -> Any:
        start = self.model.revision + 1 - back
        entering = self.stack.enter_async_context(self.store.watch(prefix, start=Revision(start), progress=1e9))
        if start <= self.model.compacted:
            with pytest.raises(Compacted):
                self.do(entering)
            return multiple()
        number = len(self.watching)
        self.watching[number] = (self.do(entering), prefix, start)
        return number

    @rule(number=consumes(watches))
    def read(self, number: int) -> None:
        """A watch tells all there is from its start to now, in order, once."""
        if number not in self.watching:
            return  # the store was closed since
        watch, prefix, start = self.watching.pop(number)
        wanted = self.model.changes(prefix, start)
        heard: list[tuple[int, list[Said]]] = []
        marks = 0
        while len(heard) < len(wanted) or not marks:
            change = self.do(self.next_of(watch))
            said = [
                (e.kind.value, str(e.entry.key), e.entry.value.decode(), int(e.entry.modified)) for e in change.events
            ]
            if said:
                heard.append((change.revision, said))
            else:
                marks += 1
                assert self.model.changes(prefix, start)[: len(heard)] == heard
        assert heard == wanted

    async def next_of(self, watch: AsyncIterator[Change]) -> Change:
        return await anext(watch)

    @rule(back=st.integers(-2, 10))
    def compact(self, back: int) -> None:
        revision = self.model.revision - back
        if revision > self.model.revision:
            with pytest.raises(InvalidValue):
                self.do(self.store.compact(Revision(revision)))
        else:
            self.do(self.store.compact(Revision(revision)))
            self.model.compacted = max(self.model.compacted, revision)

    @rule(prefix=st.sampled_from(PREFIXES), back=st.integers(-2, 12), limit=st.none() | st.integers(1, 3))
    def list_then(self, prefix: str, back: int, limit: int | None) -> None:
        revision = self.model.revision - back
        if not self.model.compacted <= revision <= self.model.revision:
            with pytest.raises((Compacted, InvalidValue)):
                self.do(self.store.list(prefix, revision=Revision(revision)))
            return
        after: Key | None = None
        found: list[Entry] = []
        while True:
            page = self.do(self.store.list(prefix, revision=Revision(revision), after=after, limit=limit))
            found += page.entries
            if not page.more:
                break
            after = page.entries[-1].key
        assert shown(found) == self.model.listing(prefix, revision)

    @rule()
    def reopen(self) -> None:
        self.do(self.stack.aclose())
        self.watching.clear()
        self.open()

    @initialize()
    def begin(self) -> None:
        assert self.store.revision == 0

    @invariant()
    def same(self) -> None:
        assert (self.store.revision, self.store.compacted) == (self.model.revision, self.model.compacted)
        assert shown(self.do(self.store.list("")).entries) == self.model.listing("", self.model.revision)

    def teardown(self) -> None:
        try:
            self.do(self.stack.aclose())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)


def shown(entries: Any) -> dict[str, Value]:
    return {str(e.key): (e.value.decode(), int(e.created), int(e.modified), e.lease) for e in entries}


@pytest.mark.parametrize("engine_name", ENGINES)
def test_any_sequence_of_operations_equals_the_model(engine_name: str) -> None:
    machine = type("Machine", (StoreMachine,), {"engine_name": engine_name})
    examples = int(os.environ.get("HYPOTHESIS_EXAMPLES", "40"))
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=40))
