"""One state of an instance out of three opinions: its lease, HAProxy's check, the operator's word. Pure.

Membership belongs to leases, traffic health to HAProxy's own checks, and the operator outranks both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from atoll.kit.text import scrub
from atoll.model.report import ServerReport
from atoll.model.service import State

WORDS = frozenset({State.DRAINING, State.MAINT})
"""States that only an operator (or a deregistering node) sets and takes back."""
CAUSE_LIMIT = 200
CHECK_CAUSE = "check: "
"""How the cause of a state begins that HAProxy's check brought about."""


class Standing(Enum):
    """What the lease says."""

    FRESH = auto()
    LAPSED = auto()
    HELD = auto()
    """Lapsed together with many others: a hold keeps it."""
    LAST = auto()
    """Lapsed, and the last of its service."""


@dataclass(frozen=True)
class Health:
    """A state and why."""

    state: State
    cause: str = ""
    maintenance: str = ""
    """The target of the word of maintenance that brought it about."""


def health(word: Health | None, standing: Standing, checks: Sequence[ServerReport]) -> Health:
    """What to believe of an instance. `word`: the operator's, if any; `checks`: one per node that reported lately.

    An instance is down only when every node that checks it says so: one that cannot reach it may be the one at fault.
    """
    if word is not None:
        return word
    if checks and not any(check.up for check in checks):
        return Health(State.FAILING, scrub(CHECK_CAUSE + (checks[0].cause or "down"), limit=CAUSE_LIMIT))
    if standing is Standing.LAST and not checks:
        return Health(State.FAILING, "lease lapsed; kept because it is the last instance")
    if standing is Standing.LAST:
        return Health(State.SUSPECT, "lease lapsed; its check passes and it is the last instance")
    if standing is Standing.HELD:
        return Health(State.SUSPECT, "lease lapsed; expiry is on hold because many lapsed together")
    if standing is Standing.LAPSED:
        return Health(State.SUSPECT, "lease lapsed")
    return Health(State.PASSING)
