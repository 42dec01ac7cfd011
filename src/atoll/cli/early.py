"""Told to stop before `atoll up` has begun: it ends at once and in order, instead of by the signal itself.

Nothing runs yet that would have to be ended, so leaving is all there is to do; the loop's own handlers (`stop`) take over
before anything is started. Imported before everything that takes time, and therefore free of imports. What comes before
the interpreter runs our first line ends by the signal, unless our parent blocked it, as `atoll up -d` does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130


def listen(arguments: Sequence[str]) -> None:
    """Take the signals of a process that is to become a node; of others, they mean what they always do."""
    if "up" in arguments and not {"-d", "--detach"} & set(arguments):
        for number in SIGNALS:
            signal.signal(number, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def ignore() -> None:
    """Everything has ended and a few milliseconds are left: a second signal shall not make another end of it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED if number == signal.SIGINT else 0)


def main() -> None:
    """The `atoll` program."""
    listen(sys.argv[1:])
    from atoll.cli.main import main as atoll

    atoll()
