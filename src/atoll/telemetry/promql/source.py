"""Where the API's answers come from: all metrics (`metrics.source.Source`), or a fake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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
