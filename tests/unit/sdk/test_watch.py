from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from atoll.errors import AtollError, Compacted, Resync, Unauthorized, Unreachable
from atoll.kit.tasks import owned
from atoll.model.answers import Fact, FactChange, FactEvent, FactEventKind, FactPage
from atoll.model.snapshot import Snapshot
from atoll.sdk.watch import Batch, Watch
from atoll.testing import FakeClock, settle

Step = FactChange | AtollError | None
"""What a scripted control plane does next: a change, a failure, or (None) ending the stream."""


class Script:
    """A control plane that does as told; records what it was asked."""

    def __init__(self, pages: list[FactPage | AtollError], streams: list[list[Step]]) -> None:
        self.pages = pages
        self.streams = streams
        self.asked: list[str] = []

    async def facts(self, prefixes: Sequence[str]) -> FactPage:
        self.asked.append("list")
        page = self.pages.pop(0)
        if isinstance(page, AtollError):
            raise page
        return page

    @asynccontextmanager
    async def changes(self, prefixes: Sequence[str], start: int) -> AsyncIterator[AsyncIterator[FactChange]]:
        self.asked.append(f"watch {start}")
        if not self.streams:
            await asyncio.Event().wait()
        yield self._play(self.streams.pop(0))

    async def _play(self, steps: list[Step]) -> AsyncIterator[FactChange]:
        for step in steps:
            if isinstance(step, AtollError):
                raise step
            if step is None:
                return
            yield step
        await asyncio.Event().wait()


def page(revision: int, *keys: str) -> FactPage:
    return FactPage(revision, tuple(Fact(key, msgspec.Raw(b"{}"), 1) for key in keys))


def put(revision: int, *keys: str) -> FactChange:
    return FactChange(revision, tuple(FactEvent(FactEventKind.PUT, key, msgspec.Raw(b"{}")) for key in keys))


def delete(revision: int, key: str) -> FactChange:
    return FactChange(revision, (FactEvent(FactEventKind.DELETE, key, msgspec.Raw(b"null")),))


async def play(script: Script, seconds: float = 60.0) -> tuple[list[Batch], Watch]:
    clock = FakeClock()
    watch, batches = Watch(script, ["services/"], clock), []

    async def listen() -> None:
        async for batch in watch:
            batches.append(batch)  # noqa: PERF401 -- it never ends: what came so far is looked at from outside

    async with owned("test") as tasks:
        tasks.start("listen", listen())
        await clock.advance(seconds)
        await settle()
    return batches, watch


async def test_it_begins_with_everything_and_goes_on_with_changes() -> None:
    script = Script([page(5, "services/a")], [[FactChange(5), put(6, "services/b"), delete(9, "services/a")]])
    batches, watch = await play(script)
    assert [(batch.revision, batch.reset) for batch in batches] == [(5, True), (6, False), (9, False)]
    assert batches[2].deletes == ("services/a",)
    assert script.asked == ["list", "watch 6"]
    assert watch.connected


async def test_a_broken_stream_is_resumed_by_revision_without_listing() -> None:
    script = Script([page(5)], [[put(6, "services/a"), Unreachable("cut")], [put(7, "services/b"), None], []])
    batches, watch = await play(script)
    assert [batch.revision for batch in batches] == [5, 6, 7]
    assert script.asked == ["list", "watch 6", "watch 7", "watch 8"]
    assert watch.resets == 0
    assert watch.failures == 2


async def test_progress_moves_the_point_of_resumption() -> None:
    script = Script([page(5)], [[FactChange(40), Unreachable("cut")], []])
    await play(script)
    assert script.asked == ["list", "watch 6", "watch 41"]


async def test_when_told_to_start_over_everything_is_listed_anew() -> None:
    for reason in (Compacted("gone"), Resync("slow")):
        script = Script([page(5, "services/a"), page(90, "services/z")], [[reason], []])
        batches, watch = await play(script)
        assert [(batch.revision, batch.reset) for batch in batches] == [(5, True), (90, True)]
        assert script.asked == ["list", "watch 6", "list", "watch 91"]
        assert watch.resets == 1


async def test_an_answer_that_was_overtaken_is_dropped() -> None:
    script = Script([page(5)], [[put(9, "services/new"), put(7, "services/old"), put(9, "services/twice")]])
    batches, _ = await play(script)
    assert [batch.revision for batch in batches] == [5, 9]


async def test_it_tries_for_ever_with_growing_pauses_and_tells_its_age() -> None:
    failures: list[FactPage | AtollError] = [Unreachable("down") for _ in range(500)]
    script = Script([Unauthorized("who?"), *failures], [])
    _, watch = await play(script, seconds=60)
    assert not watch.connected
    assert watch.error is not None
    assert watch.age >= 60
    assert 10 < watch.failures < 200, "back-off grows to 5 s at most, with jitter"


async def test_a_batch_moves_a_snapshot_on_and_a_reset_replaces_it() -> None:
    service = b'{"name":"orders"}'
    snapshot = Batch(3, (("services/orders", service),), reset=True).apply(Snapshot())
    assert set(snapshot.services) == {"orders"}
    same = Batch(4, (("services/web", b'{"name":"web"}'), ("services/bad", b"null")), ("services/orders",)).apply(
        snapshot
    )
    assert same is snapshot
    assert set(same.services) == {"web"}
    assert set(same.quarantined) == {"services/bad"}
    assert same.revision == 4
    assert not Batch(9, reset=True).apply(same).services
