"""When a promise is looked at: at any time (every 200 ms), eventually (after the fault has healed), finally (at the end).

A check is a function that returns breaches. `finally` needs no code: it is `judge(check(read_history(…)))`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from atoll.kit.clock import Clock, SystemClock
from atoll.kit.tasks import owned
from atoll.testing.promises import Breach, PromiseBroken

Check = Callable[[], Awaitable[Iterable[Breach]]]
EVERY = 0.2
"""Seconds between two looks."""
WITHIN = 20.0
"""Seconds a healed system has to be right again; a bound against hanging, never a measure of speed."""


@asynccontextmanager
async def anytime(check: Check, *, every: float = EVERY, clock: Clock | None = None) -> AsyncIterator[None]:
    """Look all through the block, and once more at its end.

    Raises:
        PromiseBroken: after the block, with everything found.
    """
    time, found = clock or SystemClock(), list[Breach]()

    async def look() -> None:
        while True:
            found.extend(await check())
            await time.sleep(every)

    async with owned("anytime") as tasks:
        tasks.start("look", look())
        yield
    found.extend(await check())
    if found:
        raise PromiseBroken(dict.fromkeys(found))


async def eventually(check: Check, *, within: float = WITHIN, every: float = EVERY, clock: Clock | None = None) -> None:
    """Wait until the check finds nothing.

    Raises:
        PromiseBroken: with what it still finds after `within` seconds.
    """
    time = clock or SystemClock()
    end = time.now() + within
    while breaches := list(await check()):
        if time.now() >= end:
            raise PromiseBroken(breaches)
        await time.sleep(every)


async def until(condition: Callable[[], bool], what: str, *, within: float = WITHIN) -> None:
    """Wait for something of our own side to happen.

    Raises:
        TimeoutError: it did not.
    """
    try:
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110  what it looks at is outside of this process
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise TimeoutError(f"waited {within} s for {what}") from None
