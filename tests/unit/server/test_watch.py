"""The event stream against a client in the test's hand: no sockets, no time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atoll.errors import Compacted, Overloaded
from atoll.kit.tasks import owned
from atoll.kit.watchdog import Watchdog
from atoll.model.answers import FactChange
from atoll.server.control import Control
from atoll.server.watch import ABORT, EventStream
from atoll.settings import Store as StoreSettings
from atoll.settings import load
from atoll.store.base import Revision
from atoll.store.memory import open_memory
from atoll.testing import FakeClock, settle
from tests.unit.registry.stage import Stage, staged


class Client:
    """Takes what is sent when `reading` is set; leaves when `leave` is."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.reading.set()
        self.leave = asyncio.Event()
        self.sent = b""
        self.ended = False
        self.aborted = False

    async def receive(self) -> dict[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.reading.wait()
        if message["type"] == "http.response.body":
            self.sent += message["body"]
            self.ended = not message["more_body"]

    def abort(self) -> None:
        self.aborted = True

    @property
    def frames(self) -> list[tuple[str, FactChange]]:
        found = re.findall(rb"id: \d+\nevent: (\w+)\ndata: (.*)\n\n", self.sent)
        return [(event.decode(), msgspec.json.decode(data, type=FactChange)) for event, data in found]

    async def watch(self, stream: EventStream) -> None:
        await stream({"type": "http", "extensions": {ABORT: self.abort}}, self.receive, self.send)


@asynccontextmanager
async def controlled(**environ: str) -> AsyncIterator[tuple[Control, Stage]]:
    clock = FakeClock()
    settings = load(Path("/nowhere"), environ)
    async with (
        open_memory(StoreSettings(watcher_backlog=5), clock) as store,
        staged(clock=clock, store=store) as stage,
        owned("test") as tasks,
    ):
        yield (
            Control(
                settings=settings,
                clock=clock,
                store=store,
                registry=stage.registry,
                catalog=stage.catalog,
                archive=stage.archive,
                token="t",
                tasks=tasks,
                watchdog=Watchdog(clock, limit=0, quiet=0),
            ),
            stage,
        )


async def test_a_watcher_that_falls_behind_is_told_to_resync_and_the_stream_ends() -> None:
    async with controlled() as (control, stage), owned("clients") as tasks:
        slow, quick = Client(), Client()
        for client in (slow, quick):
            stream = EventStream(control, ("instances/",), None)
            await stream.open()
            tasks.start("watch", client.watch(stream))
        await settle()
        slow.reading.clear()
        for number in range(20):
            await stage.register("orders", f"o-{number}", 9000 + number)
            await settle()
        assert sum(event == "change" for event, _ in quick.frames) == 20
        slow.reading.set()
        await settle()
        assert b"event: resync\n" in slow.sent
        assert slow.ended
        assert not quick.ended
        assert (control.counts.resyncs, control.counts.watchers) == (1, 1)
        quick.leave.set()
        await settle()
        assert control.counts.watchers == 0


async def test_a_client_that_takes_nothing_is_cut_with_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.server.watch.SEND_SECONDS", 0.01)
    async with controlled() as (control, _):
        client, stream = Client(), EventStream(control, ("instances/",), None)
        client.reading.clear()
        await stream.open()
        await client.watch(stream)
        assert client.aborted
        assert (control.counts.watchers_cut, control.counts.watchers) == (1, 0)


async def test_commits_come_whole_sifted_and_in_order_and_quiet_is_marked() -> None:
    async with controlled() as (control, stage), owned("clients") as tasks:
        await stage.register("before", "b-1", 9000)
        client, stream = Client(), EventStream(control, ("instances/", "services/"), 1)
        await stream.open()
        tasks.start("watch", client.watch(stream))
        await stage.register("orders", "o-1", 9001)
        await settle()
        changes = [change for event, change in client.frames if event == "change"]
        assert [change.revision for change in changes] == [1, 2]
        assert [event.key for event in changes[1].events] == ["instances/orders/o-1", "services/orders"]
        assert not any(event.key.startswith("history/") for change in changes for event in change.events)
        before = len(client.frames)
        await stage.clock.advance(5.1)
        assert [(event, change.revision) for event, change in client.frames[before:]] == [("progress", 2)]


async def test_a_future_start_waits_and_never_tells_what_is_older() -> None:
    async with controlled() as (control, stage), owned("clients") as tasks:
        client, stream = Client(), EventStream(control, ("instances/",), 4)
        await stream.open()
        tasks.start("watch", client.watch(stream))
        for number in range(5):
            await stage.register("orders", f"o-{number}", 9000 + number)
        await settle()
        assert [change.revision for event, change in client.frames if event == "change"] == [4, 5]


async def test_what_cannot_be_watched_is_refused_before_the_stream_begins_and_counts_for_nothing() -> None:
    async with controlled(ATOLL_API_WATCHERS="1") as (control, stage):
        for number in range(3):
            await stage.register("orders", f"o-{number}", 9000 + number)
        await control.store.compact(Revision(2))
        with pytest.raises(Compacted):
            await EventStream(control, ("instances/",), 1).open()
        assert control.counts.watchers == 0
        first = EventStream(control, ("instances/",), None)
        await first.open()
        with pytest.raises(Overloaded):
            await EventStream(control, ("instances/",), None).open()
        client = Client()
        client.leave.set()
        await client.watch(first)
        assert control.counts.watchers == 0


async def test_the_end_of_the_process_ends_every_stream() -> None:
    async with controlled() as (control, _), owned("clients") as tasks:
        clients = [Client() for _ in range(3)]
        for client in clients:
            stream = EventStream(control, ("",), None)
            await stream.open()
            tasks.start("watch", client.watch(stream))
        await settle()
        control.stop()
        await settle()
        assert all(client.ended for client in clients)
        assert control.counts.watchers == 0
