"""How many series there may be, and who may have how many of them: no metric and no service takes all. Pure.

One limit for all, a share of it for each service and each metric. What is over its share goes into an overflow series,
where totals stay right; a metric name over its share is refused, since adding up different metrics means nothing.
Everything is counted, names of the worst are told.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

SERVICE_SHARE = 4
"""A service may have one in so many of all series."""
METRIC_SHARE = 10
"""A metric may have one in so many of all, counted in label sets: a histogram's buckets are one."""
NAMES_SHARE = 10
"""There may be one metric name for so many series."""
SERVICE_NAMES_SHARE = 50
"""A service may bring one metric name for so many series."""
SERVICES_SHARE = 20
"""There may be one service for so many series."""
RESERVE_SHARE = 10
"""Overflow series on top of the limit: one for so many."""
TOLD = 20
"""Metrics whose overflow is told by name."""


class Room(StrEnum):
    """What becomes of a series that is new."""

    OWN = "own"
    """It is taken."""
    OVERFLOW = "overflow"
    """It is added up in its metric's overflow series."""
    REFUSED = "refused"
    """Its name is one too many, or the reserve is used up."""


class Cardinality:
    """The count of what there is. One thread."""

    def __init__(self, limit: int) -> None:
        self.limit = max(1, limit)
        self.series = 0
        self.reserve = 0
        self.overflowed = 0
        """New label sets that were sent to overflow series, so far (one that comes again is counted again)."""
        self.refused = 0
        self._services: Counter[str] = Counter()
        self._metrics: Counter[str] = Counter()
        self._names: Counter[str] = Counter()
        self._worst: Counter[str] = Counter()

    def room(self, metric: str, service: str, weight: int) -> Room:
        """Where a new label set with `weight` series goes; counts nothing but what does not find room of its own."""
        if not self._nameable(metric, service):
            self.refused += 1
            return Room.REFUSED
        full = (
            self.series + weight > self.limit
            or self._services[service] + weight > max(weight, self.limit // SERVICE_SHARE)
            or self._metrics[metric] + 1 > max(1, self.limit // METRIC_SHARE)
            or not self.knows(service)
        )
        if not full:
            return Room.OWN
        self.overflowed += 1
        if metric in self._worst or len(self._worst) < TOLD:
            self._worst[metric] += 1
        return Room.OVERFLOW

    def knows(self, service: str) -> bool:
        """Whether the service may have series of its own: it has some already, or there is room for its name."""
        return self._services[service] > 0 or len(self._services) < max(1, self.limit // SERVICES_SHARE)

    def spare(self, weight: int) -> bool:
        """Take `weight` series of the reserve for an overflow series; False: there is no room."""
        if self.reserve + weight > max(weight, self.limit // RESERVE_SHARE):
            self.refused += 1
            return False
        self.reserve += weight
        return True

    def take(self, metric: str, service: str, weight: int) -> None:
        """A series has been made."""
        self.series += weight
        if not self._metrics[metric]:
            self._names[service] += 1
        self._services[service] += weight
        self._metrics[metric] += 1

    def give(self, metric: str, service: str, weight: int) -> None:
        """A series has been forgotten."""
        self.series -= weight
        self._services[service] -= weight
        self._metrics[metric] -= 1
        if self._services[service] <= 0:
            del self._services[service]
            self._names.pop(service, None)
        if self._metrics[metric] <= 0:
            del self._metrics[metric]
            self._names[service] = max(0, self._names[service] - 1)

    @property
    def names(self) -> int:
        """Different metrics."""
        return len(self._metrics)

    def worst(self) -> list[tuple[str, int]]:
        """The metrics that overflowed most, with how often."""
        return self._worst.most_common()

    def _nameable(self, metric: str, service: str) -> bool:
        if self._metrics[metric] > 0:
            return True
        return len(self._metrics) < max(1, self.limit // NAMES_SHARE) and self._names[service] < max(
            1, self.limit // SERVICE_NAMES_SHARE
        )
