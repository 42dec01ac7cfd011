"""What long-lived processes tell Python's collector and the C library about memory.

Python's full collections look at every object that ever was: 15–20 ms in a node with all its modules, every few hundred
changes. What a process has after its start stays, so it is taken out of sight, and a full collection takes 1–2 ms.

The C library gives every thread an arena of its own, and each keeps what its thread once needed: a process whose work
wanders over a pool of threads seems to grow for hours. One arena for all is enough where Python's lock is held anyway.

Python's own allocator takes memory by the MiB and gives a MiB back when nothing of it is left, which after a burst is
never: hours of work look like a leak. The C library gives back page by page when it is asked to. So processes of ours that
live long use that one, which costs 5 % of a commit's processor time and nothing elsewhere, and ask it now and then.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sysconfig
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from atoll.kit.clock import Clock

M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3
LARGE = 256 << 10
"""Bytes from which on a block is the kernel's and goes back to it when freed. Said once, the C library no longer raises
this by itself, which it does up to 32 MB whenever a large block is freed."""

GIVE_BACK_EVERY = 10.0
"""Seconds; it takes 20 µs when there is nothing to give back, and 1 ms for 30 MiB."""
ALLOCATOR, OURS = "PYTHONMALLOC", "ATOLL_ALLOCATOR"
LIBRARY = 8 << 20
"""Bytes of code from which on it is worth it: chDB has 380 MB, and touches 135 of them when it starts; Arrow has 26."""
DONTNEED = 4
"""MADV_DONTNEED."""


def one_arena() -> None:
    """All threads to come share one heap. Before the first thread; where the C library knows no such thing, nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, LARGE)


def let_go_of_heap() -> None:
    """Give back what was freed and the C library kept for later. Some milliseconds; where it knows no such thing, nothing."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def page_by_page(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` for a process of ours that lives long: with the C library's allocator, where that can give back.

    Whoever chose an allocator keeps it.
    """
    able = getattr(ctypes.CDLL(None), "malloc_trim", None) is not None
    if not able or ALLOCATOR in environ or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return dict(environ)
    return {**environ, ALLOCATOR: "malloc", OURS: "1"}


def forget_allocator(environ: MutableMapping[str, str] = os.environ) -> None:
    """What `page_by_page` said was for this process alone, not for those that it starts."""
    if environ.pop(OURS, ""):
        environ.pop(ALLOCATOR, None)


async def give_back(clock: Clock) -> None:
    """Let go of what is free on the heap, now and then, for ever."""
    while True:
        await clock.sleep(GIVE_BACK_EVERY)
        let_go_of_heap()


def settle() -> None:
    """Take what is here now to be permanent. Once, when all modules are imported and the first objects made."""
    gc.collect()
    gc.freeze()


def let_go_of_code() -> None:
    """Give back the pages of large libraries' code: they stay in the kernel's cache, and what is called again is mapped
    again, a few microseconds a page. After the start, and after work that is rare; on Linux.
    """
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    maps = Path("/proc/self/maps")
    if madvise is None or not maps.exists():
        return
    for line in maps.read_text().splitlines():
        place, rights, _, _, inode, *_ = line.split()
        first, after = (int(end, 16) for end in place.split("-"))
        # Code alone: it is never written to. What was written to would be lost.
        if rights == "r-xp" and inode != "0" and after - first >= LIBRARY:
            madvise(ctypes.c_void_p(first), ctypes.c_size_t(after - first), DONTNEED)
