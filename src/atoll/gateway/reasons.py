"""Why HAProxy was reloaded, in few words: a bounded vocabulary for counting. The sentences themselves are for people."""

from __future__ import annotations

import re
from collections.abc import Sequence

KINDS: dict[str, str] = {
    "new-backend": r"backend \S+ for .* is not in the running file$",
    "changed-backend": r"backend \S+ changes ",
    "new-slot": r"slot \S+ is not in the running file$",
    "header-rule": r"routes match on header ",
    "fixed-answers": r"fixed answers change",
    "copies": r"last good answers are kept",
    "failover": r"services have failover groups",
    "listener": r"tcp listeners change",
    "settings": r"settings or version changed",
    "unfinished": r"an earlier node may not have seen a reload through",
    "silent-socket": r"HAProxy serves, and its runtime socket did not answer",
    "runtime-failed": r"a change failed \d+ times",
}
OTHER = "other"


def kind_of(reasons: Sequence[str]) -> str:
    """The kind of the first reason."""
    for kind, pattern in KINDS.items():
        if reasons and re.match(pattern, reasons[0]):
            return kind
    return OTHER
