"""SIGTERM, held back until an instance has left in order, then passed on to whoever handled it before.

A server such as uvicorn closes its listener as soon as it hears SIGTERM; requests that a gateway sends in that moment are
lost. So we stand in front of it. A second SIGTERM is passed on at once. Refuses nothing: outside of the main thread,
or where a handler cannot be put back, signals are left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


class Termination:
    """Made by `held_back`."""

    def __init__(self, arrived: Callable[[], object]) -> None:
        self.asked = False
        self.gone = False
        self._arrived = arrived
        self._loop = asyncio.get_running_loop()
        self.before = signal.getsignal(signal.SIGTERM)

    @property
    def nobody_else(self) -> bool:
        """Whether the signal would just end the process."""
        return self.before == signal.SIG_DFL

    def install(self) -> bool:
        """Stand in front; False where that is impossible."""
        if threading.current_thread() is not threading.main_thread() or self.before is None:
            return False
        signal.signal(signal.SIGTERM, self._handle)
        return True

    def remove(self) -> None:
        """Step back, unless somebody else has taken the place; then they hand it past us when they go."""
        self.gone = True
        if signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._who_is_left())

    def _who_is_left(self) -> Handler:
        """Whoever stood here before us and has not gone since: memberships may end in any order."""
        before = self.before
        while isinstance(earlier := getattr(before, "__self__", None), Termination) and earlier.gone:
            before = earlier.before
        return before

    @property
    def heard_by_loop(self) -> bool:
        """Whether a handler of `loop.add_signal_handler` had the signal already; it cannot be held back from that."""
        return getattr(self.before, "__module__", "").partition(".")[0] in {"asyncio", "uvloop"}

    def pass_on(self) -> None:
        """Step back and let the handler before us have the signal, once."""
        self.remove()
        if not self.heard_by_loop:
            signal.raise_signal(signal.SIGTERM)

    def _handle(self, *_: object) -> None:
        if self.asked:
            self.pass_on()
            return
        self.asked = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is nobody left to leave
            self._loop.call_soon_threadsafe(self._arrived)


@contextlib.contextmanager
def held_back(arrived: Callable[[], object]) -> Iterator[Termination]:
    """For the length of the block SIGTERM calls `arrived` in the running loop; `Termination.pass_on` is for later."""
    termination = Termination(arrived)
    installed = termination.install()
    try:
        yield termination
    finally:
        if installed:
            termination.remove()
