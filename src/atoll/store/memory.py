"""The reference engine: an image, its watchers and its leases; nothing outlives the process.

Owns the order of writes: requests are decided in groups, kept (here: by nobody), and only then they happen, are answered
and are told to watchers. An engine with a disk differs in one method, `_keep`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

from atoll.errors import Overloaded, StorageFailed, StorageFull
from atoll.kit.clock import Clock, SystemClock
from atoll.kit.logs import Log
from atoll.kit.tasks import Tasks, owned
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store.base import PENDING_LIMIT, Change, Delete, Entry, Expect, Listing, Put, Revision, Work
from atoll.store.draft import Draft, check, check_ttl
from atoll.store.image import Image, prefix_of
from atoll.store.leases import Deadlines
from atoll.store.watch import Watches

T = TypeVar("T")
S = TypeVar("S", bound="MemoryStore")
Refusal = TypeVar("Refusal", bound=StorageFull | StorageFailed)
Answers = Sequence[tuple[asyncio.Future[Any], Any]]
"""Who waits, and what was decided for it: a result or an exception."""
GROUP_LIMIT = 512
"""Requests that share one transaction at most: deciding them holds the loop for about 3 ms."""
GROUP_BYTES = 4 << 20
"""Bytes of values after which a group is closed."""
RETRY = 1.0
"""Seconds until a lapse is tried again that found no room on disk."""

log = Log("store")


class Request(NamedTuple):
    """A write that waits: what to decide, and who wants to know."""

    decide: Callable[[Draft], Any]
    answer: asyncio.Future[Any]


class MemoryStore:
    """A `Store` (see base.py for every promise). Made by `open_memory`."""

    def __init__(self, settings: StoreSettings, clock: Clock, tasks: Tasks, image: Image | None = None) -> None:
        self._image = image or Image()
        self._settings = settings
        self._clock = clock
        self._deadlines = Deadlines(clock)
        self._pending: deque[Request] = deque()
        self._writing = False
        self._closed = False
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ending: set[str] = set()
        self.failure: StorageFailed | None = None
        """Why writes are refused for good, once they are."""
        self.watches = Watches(self._image, settings, clock, tasks)
        for lease, ttl in self._image.leases.items():
            self._deadlines.start(lease, ttl)

    @property
    def revision(self) -> Revision:
        """The newest committed revision."""
        return self._image.revision

    @property
    def compacted(self) -> Revision:
        """The newest revision whose history is gone."""
        return self._image.compacted

    @property
    def work(self) -> Work:
        """What it has to do now."""
        backlog, size = self.watches.backlog
        return Work(
            waiting=len(self._pending),
            watches=self.watches.open_count,
            backlog=backlog,
            backlog_bytes=size,
            resyncs=self.watches.resyncs,
        )

    async def get(self, key: Key) -> Entry | None:
        """The newest entry of a key."""
        return self._image.entries.get(key)

    async def list(
        self, prefix: str, *, revision: Revision | None = None, after: Key | None = None, limit: int | None = None
    ) -> Listing:
        """The entries under `prefix`; see `Store.list`."""
        return self._image.page(prefix_of(prefix), revision, after, limit)

    async def commit(self, operations: Sequence[Put | Delete], *, expect: Sequence[Expect] = ()) -> Revision:
        """Do all operations as one revision; see `Store.commit`."""
        operations, expect = tuple(operations), tuple(expect)
        check(operations, expect)
        return await self._ask(lambda draft: draft.commit(operations, expect))

    def watch(
        self, prefix: str, *, start: Revision | None = None, progress: float = 5.0
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Changes under `prefix`; see `Store.watch`."""
        return self.watches.open(prefix, start, progress)

    async def compact(self, revision: Revision) -> None:
        """Forget the history at and before `revision`; see `Store.compact`."""
        await self._ask(lambda draft: draft.compact(revision))

    async def grant(self, ttl: float) -> str:
        """A new lease; see `Store.grant`."""
        seconds, lease = check_ttl(ttl), secrets.token_hex(8)
        return await self._ask(lambda draft: draft.grant(lease, seconds))

    async def keep_alive(self, lease: str) -> float:
        """Start the lease's TTL anew; touches no disk. See `Store.keep_alive`."""
        if lease in self._ending:  # its end is on the way to the disk: know first how that came out
            await self._ask(lambda _: None)
        return self._deadlines.renew(lease)

    async def revoke(self, lease: str) -> None:
        """End the lease and delete its keys; see `Store.revoke`."""
        await self._ask(lambda draft: draft.revoke(lease))

    async def close(self) -> None:
        """Finish what was accepted, then end every watch."""
        self._closed = True
        await self._quiet.wait()
        self.watches.close()

    async def failing(self) -> None:
        """Wait for the disk to fail. For whoever owns the process: it must end then.

        Raises:
            StorageFailed: it did.
        """
        await asyncio.shield(self._failed)
        if self.failure is not None:
            raise _anew(self.failure)

    async def lapse(self) -> None:
        """End leases as their time is over, each with its keys in one commit. Runs as long as the store is open."""
        while self.failure is None and not self._closed:
            over = await self._deadlines.next()
            try:
                for lease in await self._ask(partial(self._lapse, over)):
                    log.info("lease lapsed", lease=lease)
            except (StorageFull, Overloaded) as refusal:
                log.warning("lapsed leases cannot be ended yet", leases=len(over), code=refusal.code)
                await self._clock.sleep(RETRY)
            except StorageFailed:
                return

    def _lapse(self, leases: Sequence[str], draft: Draft) -> Sequence[str]:
        over = [lease for lease in leases if self._deadlines.over(lease)]  # the others were renewed meanwhile
        for lease in over:
            draft.revoke(lease)
        return over

    async def _ask(self, decide: Callable[[Draft], T]) -> T:
        if self.failure is not None:
            raise _anew(self.failure)
        if self._closed:
            raise StorageFailed("the store is closed", hint="open it again")
        if len(self._pending) >= PENDING_LIMIT:
            raise Overloaded(f"{PENDING_LIMIT} writes wait for the disk", hint="try again", retry_after=1.0)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending.append(Request(decide, answer))
        self._quiet.clear()
        self._pump()
        return await answer

    def _pump(self) -> None:
        """Decide the next group and hand it over, unless one is on its way already."""
        while self._pending and not self._writing:
            draft = Draft(self._image)
            answers: list[tuple[asyncio.Future[Any], Any]] = []
            while self._pending and len(answers) < GROUP_LIMIT and draft.bytes < GROUP_BYTES:
                request = self._pending.popleft()
                if not request.answer.done():  # a caller that was cancelled meanwhile wants it no more
                    answers.append((request.answer, _decided(request, draft)))
            draft.tidy(self._settings)
            if draft.empty:
                self._tell(answers)
            else:
                self._writing = True
                self._ending = draft.ended
                self._keep(draft, answers)
        if not self._pending and not self._writing:
            self._quiet.set()

    def _keep(self, draft: Draft, answers: Answers) -> None:
        """Make a draft durable, then call `_kept`. Here there is no disk."""
        self._kept(draft, answers, None)

    def _kept(self, draft: Draft, answers: Answers, error: StorageFull | StorageFailed | None) -> None:
        """A draft is durable, or (with an error) is not: nothing of it happened, and everybody in it hears so."""
        self._writing = False
        self._ending = set()
        if error is None:
            draft.happen()
            for lease, ttl in draft.granted.items():
                self._deadlines.start(lease, ttl)
            self._deadlines.stop(draft.ended)
            self._tell(answers)
            for commit in draft.commits:
                self.watches.publish(commit.change)
            return
        if isinstance(error, StorageFailed):
            self._fail(error)
        self._tell([(answer, _anew(error)) for answer, _ in answers])

    def _fail(self, error: StorageFailed) -> None:
        """Refuse every write from now on, also those that wait."""
        log.error("storage failed: nothing more is written", detail=error.detail)
        self.failure = error
        waiting = [(request.answer, _anew(error)) for request in self._pending]
        self._pending.clear()
        self._tell(waiting)
        if not self._failed.done():
            self._failed.set_result(None)

    def _tell(self, answers: Answers) -> None:
        for answer, outcome in answers:
            if answer.done():
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)


def _decided(request: Request, draft: Draft) -> Any:
    try:
        return request.decide(draft)
    except Exception as refusal:  # noqa: BLE001  whatever it is belongs to this caller; its neighbours must not wait forever
        return refusal


def _anew(error: Refusal) -> Refusal:
    """The same refusal for one more caller: an exception that is raised twice keeps both callers' frames alive."""
    return type(error)(error.detail, hint=error.hint, **error.fields)


@asynccontextmanager
async def running(make: Callable[[Tasks], S]) -> AsyncIterator[S]:
    """Run a store and its lapse task for the length of the block, and close it."""
    failure: Exception | None = None
    async with owned("store") as tasks:
        store = make(tasks)
        tasks.start("lapse", store.lapse())
        try:
            yield store
        except Exception as error:  # noqa: BLE001  raised again below: the body's error must not come out in a group
            failure = error
        finally:
            await store.close()
    if failure is not None:
        raise failure


@asynccontextmanager
async def open_memory(
    settings: StoreSettings | None = None, clock: Clock | None = None, *, image: Image | None = None
) -> AsyncIterator[MemoryStore]:
    """A store in memory for the length of the block; with `image`, one that goes on from there."""
    chosen, time = settings or StoreSettings(), clock or SystemClock()
    async with running(lambda tasks: MemoryStore(chosen, time, tasks, image)) as store:
        yield store
