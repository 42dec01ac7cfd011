"""A process that owns a store and does what it is told on stdin: what gets killed, starved and traced.

One JSON command a line in, one JSON answer a line out, each answer one write(2) so that its place among the
syscalls shows. Ends in order when stdin ends; with STORAGE_FAILED when the disk failed, as a control plane must.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from atoll.errors import AtollError
from atoll.kit.clock import SystemClock
from atoll.kit.logs import log_to_stderr
from atoll.kit.tasks import Tasks, owned
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store.backup import backup
from atoll.store.base import Change, Delete, Entry, EventKind, Expect, Put, Revision
from atoll.store.draft import Draft
from atoll.store.journal import Journal, Record
from atoll.store.memory import Answers
from atoll.store.sqlite import SqliteStore, open_store
from atoll.store.watch import Watches

REFUSED_TO_START = 3
STORAGE_FAILED = 74
LINE_LIMIT = 64 << 20


def say(**words: Any) -> None:
    left = memoryview(msgspec.json.encode(words) + b"\n")
    while left:
        left = left[os.write(1, left) :]


def happened(change: Change) -> dict[str, Any]:
    events = [
        {"kind": event.kind, "key": event.entry.key}
        | ({"value": event.entry.value.decode()} if event.kind is EventKind.PUT else {})
        for event in change.events
    ]
    return {"revision": change.revision, "events": events}


class Program:
    def __init__(self, store: SqliteStore, tasks: Tasks) -> None:
        self.store = store
        self.tasks = tasks
        self.watches: dict[int, asyncio.Task[None]] = {}

    async def obey(self, order: dict[str, Any]) -> None:
        number, do = order.pop("id"), order.pop("do")
        try:
            answer = await getattr(self, f"do_{do}")(number, **order)
        except AtollError as error:
            say(id=number, error=error.code, detail=error.detail, fields=error.fields)
        else:
            if answer is not None:
                say(id=number, **answer)

    async def do_commit(self, _: int, operations: list[Any], expect: list[Any]) -> dict[str, Any]:
        parsed = [
            Put(Key(op["key"]), op["value"].encode(), op.get("lease"))
            if op["kind"] == "put"
            else Delete(Key(op["key"]))
            for op in operations
        ]
        conditions = [Expect(Key(c["key"]), Revision(c["modified"])) for c in expect]
        return {"revision": await self.store.commit(parsed, expect=conditions)}

    async def do_get(self, _: int, key: str) -> dict[str, Any]:
        entry = await self.store.get(Key(key))
        seen = {"value": entry.value.decode(), "modified": entry.modified} if entry else {"value": None, "modified": 0}
        return seen | {"revision": self.store.revision}

    async def do_list(self, _: int, prefix: str) -> dict[str, Any]:
        listing = await self.store.list(prefix)
        entries = {entry.key: [entry.value.decode(), entry.modified] for entry in listing.entries}
        return {"revision": listing.revision, "entries": entries}

    async def do_log(self, _: int) -> dict[str, Any]:
        changes = []
        async with self.store.watch("", start=Revision(self.store.compacted + 1)) as watch:
            async for change in watch:
                if not change.events:
                    break
                changes.append(happened(change))
        return {"revision": self.store.revision, "compacted": self.store.compacted, "log": changes}

    async def do_watch(self, number: int, prefix: str, start: int | None, progress: float) -> None:
        self.watches[number] = self.tasks.start("watch", self._watch(number, prefix, start, progress))

    async def _watch(self, number: int, prefix: str, start: int | None, progress: float) -> None:
        try:
            first = Revision(start) if start is not None else None
            async with self.store.watch(prefix, start=first, progress=progress) as watch:
                async for change in watch:
                    say(id=number, heard=happened(change))
            say(id=number, end="closed")
        except AtollError as error:
            say(id=number, end=error.code)

    async def do_unwatch(self, _: int, watch: int) -> dict[str, Any]:
        self.watches.pop(watch).cancel()
        return {}

    async def do_grant(self, _: int, ttl: float) -> dict[str, Any]:
        return {"lease": await self.store.grant(ttl)}

    async def do_keep_alive(self, _: int, lease: str) -> dict[str, Any]:
        return {"ttl": await self.store.keep_alive(lease)}

    async def do_compact(self, _: int, revision: int) -> dict[str, Any]:
        await self.store.compact(Revision(revision))
        return {"revision": self.store.revision}

    async def do_backup(self, _: int, target: str) -> dict[str, Any]:
        done = await backup(self.store, Path(target))
        return {"revision": done.revision, "bytes": done.bytes}

    async def fail_with_the_disk(self) -> None:
        try:
            await self.store.failing()
        except AtollError:
            await asyncio.sleep(0.05)  # the refusals on their way are said first
            os._exit(STORAGE_FAILED)


def sabotage(kind: str) -> None:
    """Break a promise of the engine, so that the scenarios can be seen to notice."""
    if kind == "answers-first":
        keep = SqliteStore._keep

        def answer_then_keep(store: SqliteStore, draft: Draft, answers: Answers) -> None:
            store._tell(answers)
            asyncio.get_running_loop().call_later(0.2, keep, store, draft, answers)

        SqliteStore._keep = answer_then_keep  # type: ignore[method-assign,assignment]
    elif kind == "no-sync":
        set_up = Journal._set_up

        def unsynced(journal: Journal, connection: Any) -> None:
            set_up(journal, connection)
            connection.pragma("synchronous", "off")

        Journal._set_up = unsynced  # type: ignore[method-assign,assignment]
    elif kind == "forgives-the-disk":  # an error of a write is taken for success
        write = Journal.write

        def forgiving(journal: Journal, record: Record) -> None:
            with contextlib.suppress(AtollError):
                write(journal, record)

        Journal.write = forgiving  # type: ignore[method-assign,assignment]
    elif kind == "skips-events":
        publish = Watches.publish

        def skipping(watches: Watches, change: Change) -> None:
            if change.revision % 2:
                publish(watches, change)

        Watches.publish = skipping  # type: ignore[method-assign,assignment]
    elif kind == "stale-reads":
        get = SqliteStore.get
        seen: dict[Key, Entry | None] = {}

        async def stale(store: SqliteStore, key: Key) -> Entry | None:
            if key not in seen or store.revision % 3:
                seen[key] = await get(store, key)
            return seen[key]

        SqliteStore.get = stale  # type: ignore[method-assign,assignment]
    else:
        raise ValueError(kind)


async def serve(folder: Path, settings: StoreSettings) -> None:
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with open_store(folder, settings, SystemClock()) as store, owned("program") as tasks:
        program = Program(store, tasks)
        tasks.start("failing", program.fail_with_the_disk())
        say(id=0, revision=store.revision, compacted=store.compacted)
        while line := await reader.readline():
            tasks.start("order", program.obey(msgspec.json.decode(line)))


def main() -> int:
    log_to_stderr("WARNING")
    if kind := os.environ.get("ATOLL_TEST_SABOTAGE"):
        sabotage(kind)
    try:
        asyncio.run(serve(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=StoreSettings)))
    except AtollError as error:
        say(id=0, error=error.code, detail=error.detail, fields=error.fields)
        return REFUSED_TO_START
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
