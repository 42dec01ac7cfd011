"""Samples in memory: what the storage is to the evaluator, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atoll.telemetry.metrics.series import NAME, Histogram, Labels, Matcher, SeriesSamples, labels_of
from atoll.telemetry.metrics.storage import ExemplarFound, Metadata
from atoll.telemetry.promql import ast, evaluate
from atoll.telemetry.promql.parse import parse
from atoll.telemetry.promql.value import Grid, Scalar, Value, Vector


def series(name: str, points: Sequence[tuple[float, float]], **labels: str) -> SeriesSamples:
    """`points` are (seconds, value)."""
    return SeriesSamples(
        labels_of({NAME: name, **labels}),
        np.array([round(at * 1000) for at, _ in points], dtype=np.int64),
        np.array([value for _, value in points], dtype=np.float64),
    )


def native(name: str, points: Sequence[tuple[float, Histogram]], **labels: str) -> SeriesSamples:
    """A series of native histograms."""
    return SeriesSamples(
        labels_of({NAME: name, **labels}),
        np.array([round(at * 1000) for at, _ in points], dtype=np.int64),
        np.zeros(len(points)),
        tuple(histogram for _, histogram in points),
    )


class Memory:
    """Every series, found by matchers."""

    def __init__(self, stored: Sequence[SeriesSamples]) -> None:
        self.stored = sorted(stored, key=lambda one: one.labels)
        self.selections = 0

    def found(self, matchers: Sequence[Matcher]) -> list[SeriesSamples]:
        return [one for one in self.stored if _takes(one.labels, matchers)]

    async def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[SeriesSamples]:
        self.selections += 1
        answer = []
        for one in self.found(matchers):
            first = int(np.searchsorted(one.timestamps, start_ms, side="left"))
            beyond = int(np.searchsorted(one.timestamps, end_ms, side="right"))
            if beyond > first:
                natives = None if one.histograms is None else one.histograms[first:beyond]
                answer.append(
                    SeriesSamples(one.labels, one.timestamps[first:beyond], one.values[first:beyond], natives)
                )
        return answer

    async def series(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        return [one.labels for one in await self.select(matchers, start_ms, end_ms)]

    async def label_names(self, matchers: Sequence[Matcher], start_ms: int) -> list[str]:
        return sorted({name for one in await self.select(matchers, start_ms, 1 << 60) for name, _ in one.labels})

    async def label_values(self, name: str, matchers: Sequence[Matcher], start_ms: int) -> list[str]:
        found = await self.select(matchers, start_ms, 1 << 60)
        return sorted({value for one in found for key, value in one.labels if key == name})

    async def metadata(self, family: str, limit: int) -> list[Metadata]:
        told = [
            Metadata("up", "gauge", "", "whether it answered"),
            Metadata("took_seconds", "histogram", "seconds", ""),
        ]
        return [one for one in told if family in ("", one.family)][:limit]

    async def exemplars(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[ExemplarFound]:
        return [
            ExemplarFound(one.labels, (("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),), 1_700_000_000_123, 0.25)
            for one in await self.select(matchers, start_ms, end_ms)
        ]

    def value(self, query: str, grid: Grid, bounds: evaluate.Bounds | None = None) -> Value:
        """Evaluated over exactly the samples that `needs` asks for."""
        expr = parse(query)
        data: dict[ast.Selector, list[SeriesSamples]] = {}
        for selector, (start, end) in evaluate.needs(expr, grid).items():
            found = []
            for one in self.found(selector.matchers):
                inside = (one.timestamps >= start) & (one.timestamps <= end)
                natives = one.histograms
                if natives is not None:
                    natives = tuple(item for item, keep in zip(natives, inside.tolist(), strict=True) if keep)
                if inside.any():
                    found.append(SeriesSamples(one.labels, one.timestamps[inside], one.values[inside], natives))
            data[selector] = found
        return evaluate.evaluate(expr, grid, data, bounds=bounds)

    def at(self, query: str, seconds: float) -> dict[str, float]:
        """An instant query: labels as text to value."""
        moment = round(seconds * 1000)
        value = self.value(query, Grid(moment, moment, 1))
        if isinstance(value, Scalar):
            return {"": float(value.values[0])}
        assert isinstance(value, Vector)
        return {
            shown(labels): float(value.values[row, 0])
            for row, labels in enumerate(value.labels)
            if value.present[row, 0]
        }

    def over(self, query: str, start: float, end: float, step: float) -> dict[str, list[float | None]]:
        """A range query: labels as text to values, None where there is none."""
        value = self.value(query, Grid(round(start * 1000), round(end * 1000), round(step * 1000)))
        if isinstance(value, Scalar):
            return {"": list(value.values.tolist())}
        assert isinstance(value, Vector)
        return {
            shown(labels): [
                number if there else None
                for number, there in zip(value.values[row].tolist(), value.present[row].tolist(), strict=True)
            ]
            for row, labels in enumerate(value.labels)
            if value.present[row].any()
        }


def shown(labels: Labels) -> str:
    name = dict(labels).get(NAME, "")
    rest = ",".join(f"{key}={value}" for key, value in labels if key != NAME)
    return name + (f"{{{rest}}}" if rest else "")


def _takes(labels: Labels, matchers: Sequence[Matcher]) -> bool:
    known = dict(labels)
    return all(matcher.takes(known.get(matcher.name, "")) for matcher in matchers)
