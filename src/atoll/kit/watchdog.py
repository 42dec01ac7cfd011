"""Who keeps the event loop from running: how late it is, and when it is blocked, which task and which line.

The loop leaves a sign of life a few times a second; a thread looks at it. When there is none for `limit` seconds, the
thread writes one log line for the episode, with the task and the top of the loop's stack. A process that was paused as a
whole (SIGSTOP, a suspended machine) is no episode: then the thread was late as well, and no processor time was used.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import FrameType

from atoll.kit.clock import Clock, Instant
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.kit.text import scrub

LOOKS = 4
"""Looks, and signs of life, in one `limit`: an episode is noticed at most a quarter of it late."""
FRAMES = 8
"""Lines of the stack that are told, the innermost first."""
log = Log("watchdog")


@dataclass
class Episode:
    """One time that the loop was blocked. `where`: the task and the stack."""

    where: str
    began: Instant
    ended: Instant | None = None


class Watchdog:
    """Watches one event loop. `limit`: seconds without a sign of life that are an episode, 0 watches nothing.

    `quiet`: seconds after an episode in which the process still calls itself degraded. Lag in seconds.
    """

    def __init__(self, clock: Clock, *, limit: float, quiet: float) -> None:
        self.lag = 0.0
        """How late the loop was, last seen."""
        self.lag_most = 0.0
        self.blocked = 0
        """Episodes since the start."""
        self._blocked_seconds = 0.0
        self.last: Episode | None = None
        self._clock = clock
        self._limit = limit
        self._quiet = quiet
        self._step = limit / LOOKS
        self._alive = clock.now()
        self._looked = clock.now()
        self._busy = 0.0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the running loop for the length of the block."""
        if self._limit <= 0:
            yield
            return
        ended = threading.Event()
        loop, here = asyncio.get_running_loop(), threading.get_ident()
        self._alive = self._looked = self._clock.now()
        threading.Thread(target=self._watch, args=(ended, loop, here), name="atoll-watchdog", daemon=True).start()
        try:
            async with owned("watchdog") as tasks:
                tasks.start("alive", self._beat())
                yield
        finally:
            ended.set()

    def beat(self, slept_from: Instant, now: Instant) -> None:
        """The loop's sign of life, after a sleep of one step."""
        self.lag = max(0.0, now - slept_from - self._step)
        self.lag_most = max(self.lag_most, self.lag)
        self._alive = now
        if self.last is not None and self.last.ended is None:
            self.last.ended = now
            self._blocked_seconds += now - self.last.began

    def look(self, now: Instant, busy: float) -> bool:
        """Whether an episode begins now. `busy`: seconds of processor time that this process has used in all."""
        asleep, used = now - self._looked - self._step, busy - self._busy
        self._looked, self._busy = now, busy
        if asleep > self._limit / 2 and used < asleep / 2:
            self._alive = now  # the whole process was paused: the loop could not, so the count starts anew
        return now - self._alive >= self._limit and (self.last is None or self.last.ended is not None)

    def begin(self, where: str) -> None:
        """An episode begins."""
        self.blocked += 1
        self.last = Episode(where, self._alive)

    @property
    def blocked_seconds(self) -> float:
        """Seconds of all episodes together, one that goes on included."""
        last = self.last
        goes_on = self._clock.now() - last.began if last is not None and last.ended is None else 0.0
        return self._blocked_seconds + goes_on

    @property
    def warning(self) -> str:
        """What to tell a person, until it has been quiet for long enough; empty: nothing."""
        last = self.last
        if last is None or last.ended is None:
            return "" if last is None else f"the event loop is blocked by {last.where}"
        ago = self._clock.now() - last.ended
        if ago >= self._quiet:
            return ""
        return f"the event loop was blocked for {last.ended - last.began:.1f} s, {ago:.0f} s ago, by {last.where}"

    async def _beat(self) -> None:
        while True:
            slept_from = self._clock.now()
            await self._clock.sleep(self._step)
            self.beat(slept_from, self._clock.now())

    def _watch(self, ended: threading.Event, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._busy = time.process_time()
        while not ended.wait(self._step):
            if self.look(self._clock.now(), time.process_time()):
                where = describe(asyncio.current_task(loop), sys._current_frames().get(thread))  # noqa: SLF001 - its documented name
                self.begin(where)
                log.error("the event loop is blocked", seconds=self._limit, by=where)


def describe(task: asyncio.Task[object] | None, frame: FrameType | None) -> str:
    """A task and the top of a stack in one printable line, without any value of the program."""
    lines: list[str] = []
    while frame is not None and len(lines) < FRAMES:
        code = frame.f_code
        lines.append(f"{'/'.join(code.co_filename.split('/')[-2:])}:{frame.f_lineno}:{code.co_name}")
        frame = frame.f_back
    who = "a callback"
    if task is not None:
        who = f"task {task.get_name()} ({getattr(task.get_coro(), '__qualname__', 'a coroutine')})"
    return scrub(f"{who} in {' < '.join(lines)}", limit=480)
