"""How much of the machine others took meanwhile: what is judged by the clock cannot be judged on a machine that is not ours."""

from __future__ import annotations

import os
import time

import psutil

TOO_MUCH = 0.15
"""Share of all processors from which on a window of time says nothing about us."""


class Others:
    """Processor time of everybody but this process and its descendants, since it was last asked for."""

    def __init__(self) -> None:
        self._at, self._busy, self._ours = time.monotonic(), _busy(), _ours()

    def share(self) -> float:
        """Share of all processors, since the last time."""
        at, busy, ours = time.monotonic(), _busy(), _ours()
        mine = sum(now - self._ours.get(pid, 0.0) for pid, now in ours.items())
        found = (busy - self._busy - mine) / (at - self._at) / (os.cpu_count() or 1)
        self._at, self._busy, self._ours = at, busy, ours
        return max(0.0, found)


def _busy() -> float:
    """Seconds that all processors together were not idle; those that a hypervisor gave to others count."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


def _ours() -> dict[int, float]:
    found = {}
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            found[process.pid] = sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
    return found
