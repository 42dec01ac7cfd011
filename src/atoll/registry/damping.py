"""How often an instance's state may change on the word of a check, so that flapping neither floods store nor watchers.

HAProxy decides traffic within a check interval; the registry only has to tell people and programs. So the first change
is written at once, the second after a breath, and from the third within a minute on one change in ten seconds.
"""

from __future__ import annotations

from collections import deque

from atoll.kit.clock import Instant
from atoll.registry.expiry import InstanceKey

WINDOW = 60.0
"""Seconds over which changes are counted."""
GAPS = (0.0, 2.0, 10.0)
"""Seconds that must lie between the last change and the next, by how many there were in the window."""


class Damper:
    """The recent changes of each instance. Bounded: three moments for each instance that changed in the last minute."""

    def __init__(self) -> None:
        self._changes: dict[InstanceKey, deque[Instant]] = {}

    def allows(self, key: InstanceKey, now: Instant) -> bool:
        """Whether a change of `key` may be written now."""
        changes = self._recent(key, now)
        return not changes or now - changes[-1] >= GAPS[min(len(changes), len(GAPS) - 1)]

    def changed(self, key: InstanceKey, now: Instant) -> None:
        """A change of `key` was written."""
        self._recent(key, now)
        self._changes.setdefault(key, deque(maxlen=len(GAPS))).append(now)

    def forget(self, key: InstanceKey) -> None:
        """The instance is gone, or is another one now."""
        self._changes.pop(key, None)

    def _recent(self, key: InstanceKey, now: Instant) -> deque[Instant]:
        changes = self._changes.get(key)
        if changes is None:
            return deque()
        while changes and now - changes[0] > WINDOW:
            changes.popleft()
        if not changes:
            del self._changes[key]
        return changes
