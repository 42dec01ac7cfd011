"""The engine of one machine: the memory engine, whose groups are on disk before they happen.

Owns one writer thread, the only one that touches the connection. While it writes one group, the next one gathers, so
many concurrent commits share one fsync; reads never wait, for the image is the last durable commit.
Files in the folder: `state.db`, its `-wal` while open (or after a crash), and `lock`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from atoll.errors import AlreadyRunning, StorageFailed, StorageFull
from atoll.kit.clock import Clock
from atoll.kit.files import LockFile, private_folder
from atoll.kit.tasks import Tasks
from atoll.settings import Store as StoreSettings
from atoll.store.draft import Draft
from atoll.store.image import Image
from atoll.store.journal import CHECKPOINT_PAGES, Journal, Record, translated
from atoll.store.memory import Answers, MemoryStore, running

T = TypeVar("T")
DATABASE = "state.db"
LOCK = "lock"


class SqliteStore(MemoryStore):
    """A `Store` on disk. Made by `open_store`."""

    def __init__(
        self,
        settings: StoreSettings,
        clock: Clock,
        tasks: Tasks,
        image: Image,
        journal: Journal,
        writer: ThreadPoolExecutor,
    ) -> None:
        super().__init__(settings, clock, tasks, image)
        self._loop = asyncio.get_running_loop()
        self._journal = journal
        self._writer = writer

    @property
    def path(self) -> Path:
        """The database file. Never open it by other means while the store is open."""
        return self._journal.path

    async def on_writer(self, work: Callable[[Journal], T]) -> T:
        """Run blocking work on the journal between two groups of writes; keep it short.

        Raises:
            StorageFailed: the store is closed.
        """
        if not self._journal.is_open:
            raise StorageFailed("the store is closed", hint="open it again")
        return await self._loop.run_in_executor(self._writer, work, self._journal)

    async def close(self) -> None:
        """Finish what was accepted, end every watch, let go of the file."""
        await super().close()
        if self._journal.is_open:
            await self.on_writer(Journal.close)

    def _keep(self, draft: Draft, answers: Answers) -> None:
        grown = draft.compacted > self._image.compacted
        record = Record(
            draft.commits,
            draft.granted,
            frozenset(draft.ended),
            draft.compacted if grown else None,
            draft.garbage() if grown else (),
        )
        written = self._loop.run_in_executor(self._writer, self._journal.write, record)
        written.add_done_callback(partial(self._written, draft, answers))

    def _written(self, draft: Draft, answers: Answers, written: asyncio.Future[None]) -> None:
        self._kept(draft, answers, _outcome(written))
        if self.failure is None and self._journal.wal_pages >= CHECKPOINT_PAGES:
            done = self._loop.run_in_executor(self._writer, self._journal.checkpoint)
            done.add_done_callback(self._checkpointed)
        self._pump()

    def _checkpointed(self, done: asyncio.Future[None]) -> None:
        error = _outcome(done)
        if isinstance(error, StorageFailed) and self.failure is None:
            self._fail(error)
            self._pump()


def _outcome(done: asyncio.Future[None]) -> StorageFull | StorageFailed | None:
    error = done.exception()
    if error is None or isinstance(error, (StorageFull, StorageFailed)):
        return error
    return StorageFailed(f"the writer failed: {error!r}", hint="this is a bug in atoll; please report it")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder (made if there is none) for the length of the block.

    Raises:
        AlreadyRunning: another process holds it; field `pid`.
        StorageFull, StorageFailed: it cannot be made or written.
    """
    lock = LockFile(folder / LOCK)
    try:
        private_folder(folder)
        lock.acquire()
    except BlockingIOError:
        pid = lock.holder()
        raise AlreadyRunning(
            f"{folder} is in use by process {pid or '(unknown)'}",
            hint="stop that one, or choose another state folder",
            pid=pid,
        ) from None
    except OSError as error:
        raise translated(error, folder) from error
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def open_store(
    folder: Path, settings: StoreSettings, clock: Clock, *, vfs: str | None = None
) -> AsyncIterator[SqliteStore]:
    """The store kept in `folder`, open for the length of the block; see `base.Engine` for what it raises.

    `vfs` names SQLite's layer to the disk; tests put failing disks there.
    """
    with held(folder):
        loop = asyncio.get_running_loop()
        journal = Journal(folder / DATABASE, vfs)
        with ThreadPoolExecutor(1, thread_name_prefix="atoll-store") as writer:
            try:
                image = await loop.run_in_executor(writer, journal.open)
                make = partial(_make, settings, clock, image, journal, writer)
                async with running(make) as store:
                    yield store
            finally:
                writer.submit(journal.close)  # the block's end waits for it, even when cancelled


def _make(
    settings: StoreSettings, clock: Clock, image: Image, journal: Journal, writer: ThreadPoolExecutor, tasks: Tasks
) -> SqliteStore:
    return SqliteStore(settings, clock, tasks, image, journal, writer)
