"""Ctrl-C and its relatives: the first asks for a graceful end, the second forces it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

from atoll.cli.early import SIGNALS

QUICK = 0.1
"""Seconds within which a second signal is the same wish: a terminal and `make` may both pass on one Ctrl-C."""


class Stop:
    """What wiring is handed: two events. Made inside the loop that they are awaited in."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        """Stop gracefully."""
        self.forced = asyncio.Event()
        """End everything now."""
        self.interrupted = False
        """Ctrl-C was among the signals."""
        self._first = 0.0

    def heard(self, number: int, now: float) -> None:
        """A signal came at `now` (the loop's time)."""
        self.interrupted = self.interrupted or number == signal.SIGINT
        if not self.asked.is_set():
            self._first = now
            self.asked.set()
        elif now - self._first >= QUICK:
            self.forced.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals of this process while the block runs."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._handle, number)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    def _handle(self, number: int) -> None:
        self.heard(number, asyncio.get_running_loop().time())


def run_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end on uvloop; returns the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
