"""Where the API's answers come from: a protocol, and the metrics' storage behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from atoll.telemetry.engine import Limits
from atoll.telemetry.metrics import storage
from atoll.telemetry.metrics.series import Labels, Matcher, SeriesSamples
from atoll.telemetry.metrics.storage import ExemplarFound, Metadata

Matchers = Sequence[Matcher]


class Source(Protocol):
    """Samples and what is known of series. Times are milliseconds, both ends included."""

    async def select(self, matchers: Matchers, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        """The series that all matchers take, with their samples."""
        ...

    async def series(self, matchers: Matchers, start_ms: int, end_ms: int) -> list[Labels]:
        """Their labels alone."""
        ...

    async def label_names(self, matchers: Matchers, start_ms: int) -> list[str]:
        """Names of labels of series that lived then or later, sorted."""
        ...

    async def label_values(self, name: str, matchers: Matchers, start_ms: int) -> list[str]:
        """Values of one label of series that lived then or later, sorted."""
        ...

    async def metadata(self, family: str, limit: int) -> list[Metadata]:
        """What is told of metric families."""
        ...

    async def exemplars(self, matchers: Matchers, start_ms: int, end_ms: int) -> list[ExemplarFound]:
        """Exemplars of series."""
        ...


@dataclass(frozen=True)
class Stored:
    """The metrics' storage."""

    pool: Any
    """An `EnginePool`."""
    limits: Limits

    async def select(self, matchers: Matchers, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        """See Source."""
        return await storage.select(self.pool, matchers, start_ms, end_ms, limits=self.limits)

    async def series(self, matchers: Matchers, start_ms: int, end_ms: int) -> list[Labels]:
        """See Source."""
        return [one.labels for one in await storage.series(self.pool, matchers, start_ms, end_ms, limits=self.limits)]

    async def label_names(self, matchers: Matchers, start_ms: int) -> list[str]:
        """See Source."""
        return await storage.label_names(self.pool, matchers, start_ms)

    async def label_values(self, name: str, matchers: Matchers, start_ms: int) -> list[str]:
        """See Source."""
        return await storage.label_values(self.pool, name, matchers, start_ms)

    async def metadata(self, family: str, limit: int) -> list[Metadata]:
        """See Source."""
        return await storage.metadata(self.pool, family=family, limit=limit)

    async def exemplars(self, matchers: Matchers, start_ms: int, end_ms: int) -> list[ExemplarFound]:
        """See Source."""
        return await storage.exemplars(self.pool, matchers, start_ms, end_ms)
