"""The store program from outside: orders as awaitable calls, and the truth of which were answered before it died."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from atoll.kit.tasks import owned
from atoll.settings import Store as StoreSettings
from atoll.testing.promises import Happened, Log
from atoll.testing.watched import Heard
from tests.fault.faults.process import innermost, kill, kill_group, running

PROGRAM = Path(__file__).parent / "programs" / "store_program.py"


class Refused(Exception):
    """The store said no; `code` is its error code."""

    def __init__(self, code: str, detail: str, fields: Mapping[str, Any]) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.fields = fields


class Lost(Exception):
    """The process ended without an answer."""


class Watching(AsyncIterator[Heard]):
    """What one watch hears; ends when the store or the process does. `end` tells which: a code, or None for a death."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.end: str | None = None
        self.queue: asyncio.Queue[Heard | None] = asyncio.Queue()

    async def __anext__(self) -> Heard:
        """The next message."""
        heard = await self.queue.get()
        if heard is None:
            self.queue.put_nowait(None)
            raise StopAsyncIteration
        return heard


class StoreProcess:
    """A running store program; made by `store_process`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.revision = 0
        """The store's revision when it was opened."""
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._watches: dict[int, Watching] = {}
        self._ended = False
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[0] = self._ready
        self.complaints = b""
        """What it wrote to stderr, once it has ended."""

    @property
    def pid(self) -> int:
        """The program's own, also under strace."""
        return innermost(self.process.pid)

    async def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises:
            Refused: the store said no.
            Lost: the process died first.
        """
        return await self.send(do, **words)

    def send(self, do: str, **words: Any) -> asyncio.Future[dict[str, Any]]:
        """Give an order now; the answer comes later."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        if self._ended:
            answer.set_exception(Lost("the process has ended"))
            return answer
        number = next(self._numbers)
        self._asked[number] = answer
        self._write({"id": number, "do": do, **words})
        return answer

    async def commit(self, puts: Mapping[str, str | None], expect: Mapping[str, int] | None = None) -> int:
        """Put keys (a None deletes), if they were last modified as expected; returns the revision."""
        answer = await self.ask("commit", operations=operations(puts), expect=conditions(expect or {}))
        return int(answer["revision"])

    def watch(self, prefix: str, start: int | None, progress: float = 0.2) -> Watching:
        """Start a watch."""
        watching = Watching(next(self._numbers))
        if self._ended:
            watching.queue.put_nowait(None)
            return watching
        self._watches[watching.number] = watching
        self._write({"id": watching.number, "do": "watch", "prefix": prefix, "start": start, "progress": progress})
        return watching

    async def log(self) -> tuple[Log, int]:
        """The kept history, and the revision up to which it is compacted."""
        answer = await self.ask("log")
        changes = {
            change["revision"]: msgspec.convert(change["events"], tuple[Happened, ...]) for change in answer["log"]
        }
        return changes, int(answer["compacted"])

    def kill(self) -> None:
        """kill -9."""
        kill(self.pid)

    async def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        return await self.process.wait()

    async def close(self) -> int:
        """End it in order; returns its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.process.wait()

    async def started(self) -> None:
        """Wait until it is open.

        Raises:
            Refused: it could not be opened.
            Lost: it died before.
        """
        self.revision = int((await self._ready)["revision"])

    async def listen(self) -> None:
        """Hand answers to who waits for them, until the process ends."""
        assert self.process.stdout is not None
        try:
            while line := await self.process.stdout.readline():
                if line.endswith(b"\n"):
                    self._hear(msgspec.json.decode(line))
        finally:
            self._ended = True
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(Lost("the process died without an answer"))
                    answer.exception()  # nobody has to ask
            for watching in self._watches.values():
                watching.queue.put_nowait(None)

    async def hear_complaints(self) -> None:
        """Read its stderr to the end."""
        assert self.process.stderr is not None
        self.complaints = await self.process.stderr.read()

    def _write(self, words: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        if not self.process.stdin.is_closing():
            self.process.stdin.write(msgspec.json.encode(words) + b"\n")

    def _hear(self, words: dict[str, Any]) -> None:
        number = words.pop("id")
        if "heard" in words:
            self._watches[number].queue.put_nowait(msgspec.convert(words["heard"], Heard))
        elif "end" in words:
            self._watches[number].end = words["end"]
            self._watches[number].queue.put_nowait(None)
        elif number in self._asked and not self._asked[number].done():
            answer = self._asked.pop(number)
            if "error" in words:
                answer.set_exception(Refused(words["error"], words["detail"], words["fields"]))
            else:
                answer.set_result(words)


def operations(puts: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """Puts and (None) deletes as the program and the histories write them."""
    return [
        {"kind": "delete", "key": key} if value is None else {"kind": "put", "key": key, "value": value}
        for key, value in puts.items()
    ]


def conditions(expect: Mapping[str, int]) -> list[dict[str, Any]]:
    """Expectations as the program reads them."""
    return [{"key": key, "modified": modified} for key, modified in expect.items()]


@asynccontextmanager
async def store_process(
    folder: Path,
    *,
    before: Sequence[str] = (),
    settings: StoreSettings | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[StoreProcess]:
    """A store program on `folder`, with the words `before` in front of its command; killed at the end of the block.

    Raises:
        Refused: it could not be opened.
        Lost: it died while it was opened.
    """
    chosen = msgspec.json.encode(settings or StoreSettings()).decode()
    command = [*before, sys.executable, "-P", str(PROGRAM), str(folder), chosen]
    failure: Exception | None = None
    async with running(command, environ=environ) as process, owned("store-process") as tasks:
        store = StoreProcess(process)
        listening = tasks.start("listen", store.listen())
        complaints = tasks.start("complaints", store.hear_complaints())
        try:
            await store.started()
            yield store
        except Exception as error:  # noqa: BLE001  raised again below: it must not come out in a group
            failure = error
            if isinstance(error, Lost):
                await complaints
                error.add_note(store.complaints.decode(errors="replace")[-2000:])
        kill_group(process.pid)
        await asyncio.wait([listening, complaints])
    if failure is not None:
        raise failure
