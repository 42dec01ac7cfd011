"""The scraper: asks each target for its metrics at its interval, and marks what has ended.

Promises: as Prometheus, `up`, `scrape_duration_seconds` and `scrape_samples_scraped` for each target; a series that a
page no longer has, and all of a target that fails or goes away, are marked stale at once (not so when this process
stops: it will be back in a moment). Bounded: targets, bodies, samples, time. A page is taken whole or not at all. Requests carry a trace context that says: do not trace this.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol
from zlib import crc32

from atoll.errors import AtollError
from atoll.kit.clock import Clock, Instant
from atoll.kit.logs import Log
from atoll.kit.tasks import Tasks, owned
from atoll.telemetry.metrics.exposition import Malformed, Page, page_of
from atoll.telemetry.metrics.fetch import Answer, NoAnswer
from atoll.telemetry.metrics.intake import Intake
from atoll.telemetry.metrics.scraped import Scraped
from atoll.telemetry.metrics.target import Politeness, Target

LOOK = 1.0
"""Seconds between two looks at the list of targets."""
TARGETS_LIMIT = 2000
"""Targets at most; more are counted and left out."""
AT_ONCE = 16
"""Scrapes in progress at most."""
INLINE = 32 << 10
"""Bytes of a page up to which it is read on the event loop, in a millisecond; larger ones in a thread."""
log = Log("scrape")


class Fetch(Protocol):
    """Asks a target; `fetch.Fetcher`, or a fake."""

    async def __call__(self, target: Target, trace: str) -> Answer:
        """The answer, of any status.

        Raises:
            NoAnswer: none came, or it was too large.
        """


@dataclass
class ScrapeCounts:
    """Since the start."""

    scrapes: int = 0
    failed: int = 0
    samples: int = 0
    left_out: int = 0
    """Targets beyond the limit, now."""
    targets: int = 0
    """Targets, now."""
    trouble: dict[str, str] = field(default_factory=dict)
    """By instance: why the last scrape failed."""


class Scraper:
    """Made by `scraping`."""

    def __init__(self, intake: Intake, fetch: Fetch, clock: Clock, targets: Callable[[], Sequence[Target]]) -> None:
        self.counts = ScrapeCounts()
        self._intake = intake
        self._fetch = fetch
        self._clock = clock
        self._targets = targets
        self._politeness = Politeness()
        self._running: dict[Target, tuple[asyncio.Task[None], Scraped]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self, tasks: Tasks) -> None:
        """Follow the list of targets, for ever."""
        while True:
            self.follow(tasks)
            await self._clock.sleep(LOOK)

    def follow(self, tasks: Tasks) -> None:
        """Begin with new targets, end with those that are gone."""
        chosen = self._politeness.chosen(self._targets(), self._clock.now())
        wanted = set(chosen[:TARGETS_LIMIT])
        self.counts.left_out, self.counts.targets = len(chosen) - len(wanted), len(wanted)
        for target, (task, state) in list(self._running.items()):
            if target not in wanted or task.done():
                del self._running[target]
                self.counts.trouble.pop(target.instance, None)
                task.cancel()
                if (
                    state.began
                ):  # what the cancelled scrape still writes comes before this: there is one thread for both
                    tasks.start(f"end {target.instance}", self._ended(state))
        for target in chosen[:TARGETS_LIMIT]:
            if target not in self._running:
                state = Scraped(target)
                self._running[target] = (tasks.start(f"scrape {target.instance}", self._live(state)), state)

    async def _live(self, state: Scraped) -> None:
        """Scrape one target as long as it is there. Only tried: once, and on if it has metrics."""
        target = state.target
        if self._politeness.known(target):
            await self._clock.sleep(crc32(target.instance.encode()) % 1000 / 1000 * min(target.interval, 5.0))
        due = self._clock.now()
        while await self.scrape(state):
            due = Instant(max(due + target.interval, self._clock.now()))
            await self._clock.sleep(due - self._clock.now())

    async def scrape(self, state: Scraped) -> bool:
        """One scrape; whether there shall be another one."""
        target = state.target
        trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
        async with self._slots:
            began, at = self._clock.now(), int(self._clock.wall() * 1000)
            page, why = await self._page(target, trace)
            took = self._clock.now() - began
        if page is None and not self._politeness.known(target):
            self._politeness.refuses(target, self._clock.now())
            return False
        if page is not None:
            self._politeness.exposes(target)
        self.counts.scrapes += 1
        try:
            refused = await self._intake.take(lambda book: state.take(book, page, at, took))
        except AtollError as error:
            page, why = None, error.detail
        else:
            for reason, count in refused.items():
                self._intake.refuse(reason, count)
            if state.trouble:
                page, why = None, state.trouble
        if page is None:
            self.counts.failed += 1
            if self.counts.trouble.get(target.instance) != why:
                log.warning("a scrape failed", service=target.service, instance=target.instance, reason=why)
            self.counts.trouble[target.instance] = why
        else:
            self.counts.samples += len(page.samples)
            self.counts.trouble.pop(target.instance, None)
        return True

    async def _page(self, target: Target, trace: str) -> tuple[Page | None, str]:
        """The page, or why there is none."""
        try:
            answer = await self._fetch(target, trace)
            if answer.status != 200:
                return None, f"status {answer.status}"
            if answer.is_page is False:
                return None, f"no metrics but {answer.media[:80]!r}"
            if len(answer.body) <= INLINE:
                page = page_of(answer.text, openmetrics=answer.openmetrics)
            else:
                page = await asyncio.to_thread(page_of, answer.text, openmetrics=answer.openmetrics)
        except NoAnswer as error:
            return None, str(error)
        except Malformed as error:
            return None, f"the page cannot be read: {error}"
        if not page.samples and not self._politeness.known(target):
            return None, "an empty page"
        return page, ""

    async def _ended(self, state: Scraped) -> None:
        at = int(self._clock.wall() * 1000)
        try:
            await self._intake.take(lambda book: state.end(book, at))
        except AtollError as error:
            log.warning("the end of a target was not marked", instance=state.target.instance, reason=error.code)


@asynccontextmanager
async def scraping(
    intake: Intake, fetch: Fetch, clock: Clock, targets: Callable[[], Sequence[Target]]
) -> AsyncIterator[Scraper]:
    """A scraper for the length of the block. `targets`: what there is now; asked every second."""
    scraper = Scraper(intake, fetch, clock, targets)
    async with owned("scraper") as tasks:
        tasks.start("follow", scraper.run(tasks))
        yield scraper
