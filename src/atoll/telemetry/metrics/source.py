"""All metrics as one: what is stored, and requests out of the gateway's roll-up. What PromQL asks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from atoll.telemetry.engine import Limits
from atoll.telemetry.metrics import counting, exemplars, red, storage
from atoll.telemetry.metrics.series import NAME, Labels, Matcher, SeriesSamples
from atoll.telemetry.metrics.storage import EPOCH_END, LIMITS, ExemplarFound, Metadata, Reader


class Source:
    """Metrics behind one pool; every method raises as its namesake in `storage`."""

    def __init__(self, pool: Reader, *, limits: Limits = LIMITS) -> None:
        self._pool = pool
        self._limits = limits

    async def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[SeriesSamples]:
        """Series with samples between two times, both included; in order of their labels."""
        stored, requests = await asyncio.gather(
            storage.select(self._pool, matchers, start_ms, end_ms, limits=self._limits),
            red.select(self._pool, matchers, start_ms, end_ms, limits=self._limits),
        )
        return sorted([*stored, *requests], key=lambda one: one.labels) if requests else stored

    async def series(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """The labels of series that lived between two times."""
        stored = await storage.series(self._pool, matchers, start_ms, end_ms, limits=self._limits)
        requests: list[SeriesSamples] = []
        if red.wanted(matchers):
            requests = await red.select(self._pool, matchers, end_ms - counting.IDLE, end_ms, limits=self._limits)
        return sorted({*(one.labels for one in stored), *(one.labels for one in requests)})

    async def label_names(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int = EPOCH_END) -> list[str]:
        """The names of labels of series that lived between two times."""
        stored = await storage.label_names(self._pool, matchers, start_ms)
        if not await red.label_values(self._pool, NAME, matchers, start_ms, end_ms):
            return stored
        return sorted({*stored, NAME, "le", *red.COLUMNS})

    async def label_values(
        self, name: str, matchers: Sequence[Matcher], start_ms: int, end_ms: int = EPOCH_END
    ) -> list[str]:
        """The values of one label."""
        stored = await storage.label_values(self._pool, name, matchers, start_ms)
        requests = await red.label_values(self._pool, name, matchers, start_ms, end_ms)
        return sorted({*stored, *requests})

    async def metadata(self, family: str = "", limit: int = 10_000) -> list[Metadata]:
        """Type, unit and help of metric families."""
        known = [one for one in red.METADATA if family in ("", one.family)]
        stored = await storage.metadata(self._pool, family=family, limit=limit)
        return sorted([*known, *stored], key=lambda one: one.family)[:limit]

    async def exemplars(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, *, limit: int = 1000
    ) -> list[ExemplarFound]:
        """Exemplars: of what services sent, and traces of requests through the gateway."""
        stored = await storage.exemplars(self._pool, matchers, start_ms, end_ms, limit=limit)
        requests = await exemplars.of_requests(self._pool, matchers, start_ms, end_ms, limit=limit)
        return sorted([*stored, *requests], key=lambda one: one.at)
