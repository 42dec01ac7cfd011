"""Python's garbage collector in processes that answer within milliseconds.

Its full collections look at every object that ever was: 15–20 ms in a node with all its modules, every few hundred
changes. What a process has after its start stays, so it is taken out of sight, and a full collection takes 1–2 ms.
"""

from __future__ import annotations

import gc


def settle() -> None:
    """Take what is here now to be permanent. Once, when all modules are imported and the first objects made."""
    gc.collect()
    gc.freeze()
