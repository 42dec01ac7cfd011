"""What long-lived processes tell Python's collector and the C library about memory.

Python's full collections look at every object that ever was: 15–20 ms in a node with all its modules, every few hundred
changes. What a process has after its start stays, so it is taken out of sight, and a full collection takes 1–2 ms.

The C library gives every thread an arena of its own, and each keeps what its thread once needed: a process whose work
wanders over a pool of threads seems to grow for hours. One arena for all is enough where Python's lock is held anyway.
"""

from __future__ import annotations

import ctypes
import gc

M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3
LARGE = 256 << 10
"""Bytes from which on a block is the kernel's and goes back to it when freed. Said once, the C library no longer raises
this by itself, which it does up to 32 MB whenever a large block is freed."""


def one_arena() -> None:
    """All threads to come share one heap. Before the first thread; where the C library knows no such thing, nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, LARGE)


def settle() -> None:
    """Take what is here now to be permanent. Once, when all modules are imported and the first objects made."""
    gc.collect()
    gc.freeze()
