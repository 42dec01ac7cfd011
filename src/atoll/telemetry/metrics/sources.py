"""What the members of overflow series last said, so that totals grow by what is new and by nothing else.

Bounded: `limit` numbers. Who has said nothing for two turns is forgotten; what it had counted stays counted. Above the
limit a new member is refused. One thread.
"""

from __future__ import annotations

from typing import Any


class Sources:
    """Two generations: what was said since the last turn, and what was said before that."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._new: dict[int, Any] = {}
        self._old: dict[int, Any] = {}
        self._weight_new = 0
        self._weight_old = 0

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def swap(self, key: int, said: Any, weight: int) -> tuple[bool, Any]:
        """Remember what `key` says now; whether there was room, and what it said before (None: it is new)."""
        before = self._new.get(key)
        if before is None:
            before = self._old.pop(key, None)
            if before is not None:
                self._weight_old -= weight
            elif self._weight_new + self._weight_old + weight > self._limit:
                return False, None
            self._weight_new += weight
        self._new[key] = said
        return True, before

    def turn(self) -> None:
        """Forget who has said nothing since the turn before."""
        self._old, self._new = self._new, {}
        self._weight_old, self._weight_new = self._weight_new, 0
