"""Named checks that together say whether an app is ready, asked side by side and within bounds.

A check is a function without arguments, async or not, that returns true. What it raises, or returns as false, or does not
return within TIMEOUT, makes it fail. Its exception's type is shown, its text is not: it may hold a secret.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

from atoll.errors import InvalidValue
from atoll.kit.clock import Clock
from atoll.kit.text import scrub
from atoll.model.names import token

TIMEOUT = 2.0
"""Seconds of one check."""
FRESH = 0.5
"""Seconds that an answer is used again: whoever asks more often does not reach the database more often."""
LIMIT = 32
"""Checks."""
Ask = Callable[[], Awaitable[object]] | Callable[[], object]
A = TypeVar("A", bound=Ask)
PASSED = "ok"


class Checks:
    """The checks of one app."""

    def __init__(self, clock: Clock) -> None:
        self._asked: dict[str, Ask] = {}
        self._clock = clock
        self._known: dict[str, str] = {}
        self._since = -FRESH
        self._one = asyncio.Lock()

    def add(self, name: str, ask: Ask) -> None:
        """Add a check.

        Raises:
            InvalidName: the name is none of letters, digits and `. _ + -`.
            InvalidValue: there is one of this name, or there are LIMIT.
        """
        name = token(name, field="check")
        if name in self._asked or len(self._asked) >= LIMIT:
            raise InvalidValue(
                f"check {name} is there already" if name in self._asked else f"more than {LIMIT} checks",
                hint="give each check a name of its own, and few of them",
                field="check",
            )
        self._asked[name] = ask

    async def outcomes(self) -> dict[str, str]:
        """What each check said: `ok`, or why not. At most FRESH seconds old; asked once however many want to know."""
        async with self._one:
            if self._clock.now() - self._since >= FRESH or self._known.keys() != self._asked.keys():
                found = await asyncio.gather(*(_outcome(ask) for ask in self._asked.values()))
                self._known = dict(zip(self._asked, found, strict=True))
                self._since = self._clock.now()
            return dict(self._known)


async def _outcome(ask: Ask) -> str:
    try:
        async with asyncio.timeout(TIMEOUT):
            said = ask() if inspect.iscoroutinefunction(ask) else await asyncio.to_thread(ask)
            if inspect.isawaitable(said):
                said = await said
    except TimeoutError:
        return f"no answer within {TIMEOUT:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, the app is not ready
        return scrub(type(error).__name__, limit=80)
    return PASSED if said else "failed"
