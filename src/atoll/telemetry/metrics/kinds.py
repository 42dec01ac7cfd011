"""The kinds of OTLP metrics: which series a point of each has, and what it writes to them. Pure but for the book."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np

from atoll.telemetry.metrics.book import Shape
from atoll.telemetry.metrics.entry import Entry
from atoll.telemetry.metrics.histograms import converted
from atoll.telemetry.metrics.points import Points, Reason, Refused

BUCKETS_LIMIT = 512
"""Buckets of a histogram with bounds, quantiles of a summary."""
NO_VALUE = 1
"""Flag of OTLP: the series has ended, or nothing was recorded."""
NAN = float("nan")
"""The ordinary one: a sender's bits must not be taken for the mark of staleness."""
ONE = Shape()


class Reading(Protocol):
    """How points of one kind are read."""

    def shape(self, point: Any) -> Shape:
        """Which series the point has.

        Raises:
            Refused: its bounds cannot be.
        """

    def members(self, family: str, own: dict[str, str], shape: Shape) -> Iterator[tuple[str, dict[str, str]]]:
        """Their names and labels."""

    def take(self, points: Points, entry: Entry, key: int, at: int, point: Any) -> None:
        """Write the point.

        Raises:
            Refused: it cannot be true.
        """


def reading_of(kind: str, *, rising: bool, delta: bool) -> Reading:
    """The reading of `gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`."""
    if kind in ("gauge", "sum"):
        return Numbers(total=kind == "sum", rising=rising, delta=delta and kind == "sum")
    if kind == "histogram":
        return Buckets(delta=delta)
    return Natives(delta=delta) if kind == "exponential_histogram" else Quantiles()


class Numbers:
    """Gauges and sums."""

    def __init__(self, *, total: bool, rising: bool, delta: bool) -> None:
        self._total = total
        self._rising = rising
        self._delta = delta

    def shape(self, point: Any) -> Shape:  # noqa: ARG002 - always one
        """One series."""
        return ONE

    def members(self, family: str, own: dict[str, str], shape: Shape) -> Iterator[tuple[str, dict[str, str]]]:  # noqa: ARG002
        """The metric itself."""
        yield family, own

    def take(self, points: Points, entry: Entry, key: int, at: int, point: Any) -> None:
        """See `Reading`."""
        if point.flags & NO_VALUE:
            points.ended(entry, at)
            return
        said = point.WhichOneof("value")
        value = float(point.as_int) if said == "as_int" else point.as_double
        if said is None or (self._total and not math.isfinite(value)) or (self._rising and value < 0):
            raise Refused(Reason.VALUE)
        if self._delta:
            points.differed(entry, at, (value,))
        elif self._total:
            points.grown(entry, key, at, point.start_time_unix_nano, (value,), rising=int(self._rising))
        else:
            points.level(entry, at, (NAN if value != value else value,))
        if point.exemplars:
            points.exemplars(entry, point, None)


class Buckets:
    """Histograms with bounds: Prometheus' classic ones."""

    def __init__(self, *, delta: bool) -> None:
        self._delta = delta

    def shape(self, point: Any) -> Shape:
        """A series for each bucket, one for all, the count, and the sum if there is one."""
        bounds = tuple(point.explicit_bounds)
        if len(bounds) > BUCKETS_LIMIT or any(not low < high for low, high in pairwise(bounds)):
            raise Refused(Reason.BUCKETS)
        if not all(map(math.isfinite, bounds)):
            raise Refused(Reason.BUCKETS)
        return Shape(len(bounds) + 2 + point.HasField("sum"), bounds)

    def members(self, family: str, own: dict[str, str], shape: Shape) -> Iterator[tuple[str, dict[str, str]]]:
        """See `shape`."""
        own = {("exported_le" if name == "le" else name): value for name, value in own.items()}
        for bound in shape.bounds:
            yield f"{family}_bucket", {**own, "le": number_text(bound)}
        yield f"{family}_bucket", {**own, "le": "+Inf"}
        yield f"{family}_count", own
        if shape.weight > len(shape.bounds) + 2:
            yield f"{family}_sum", own

    def take(self, points: Points, entry: Entry, key: int, at: int, point: Any) -> None:
        """See `Reading`."""
        if point.flags & NO_VALUE:
            points.ended(entry, at)
            return
        counts = point.bucket_counts
        bounds = point.explicit_bounds
        if (counts or bounds) and (len(counts) != len(bounds) + 1 or sum(counts) != point.count):
            raise Refused(Reason.BUCKETS)
        values = [float(total) for total in accumulate(counts)] if counts else [float(point.count)]
        values.append(float(point.count))
        rising = len(values)
        if point.HasField("sum"):
            if not math.isfinite(point.sum):
                raise Refused(Reason.VALUE)
            values.append(point.sum)
        if self._delta:
            points.differed(entry, at, values)
        else:
            points.grown(entry, key, at, point.start_time_unix_nano, values, rising=rising)
        if point.exemplars:
            points.exemplars(entry, point, bounds)


class Natives:
    """Exponential histograms: Prometheus' native ones."""

    def __init__(self, *, delta: bool) -> None:
        self._delta = delta

    def shape(self, point: Any) -> Shape:  # noqa: ARG002 - always one
        """One series."""
        return ONE

    def members(self, family: str, own: dict[str, str], shape: Shape) -> Iterator[tuple[str, dict[str, str]]]:  # noqa: ARG002
        """The metric itself."""
        yield family, own

    def take(self, points: Points, entry: Entry, key: int, at: int, point: Any) -> None:
        """See `Reading`."""
        if point.flags & NO_VALUE:
            points.ended(entry, at)
            return
        positive, negative = point.positive, point.negative
        if point.count != point.zero_count + sum(positive.bucket_counts) + sum(negative.bucket_counts):
            raise Refused(Reason.BUCKETS)
        if not math.isfinite(point.sum) or not 0 <= point.zero_threshold < math.inf:
            raise Refused(Reason.VALUE)
        value = converted(
            scale=point.scale,
            count=float(point.count),
            sum=point.sum,
            zero_threshold=point.zero_threshold,
            zero_count=float(point.zero_count),
            positive=(positive.offset, np.array(positive.bucket_counts, np.float64)),
            negative=(negative.offset, np.array(negative.bucket_counts, np.float64)),
        )
        if value is None:
            raise Refused(Reason.BUCKETS)
        points.native(entry, key, at, value, delta=self._delta)
        if point.exemplars:
            points.exemplars(entry, point, None)


class Quantiles:
    """Summaries."""

    def shape(self, point: Any) -> Shape:
        """A series for each quantile, the count and the sum."""
        quantiles = tuple(one.quantile for one in point.quantile_values)
        if len(quantiles) > BUCKETS_LIMIT or len(set(quantiles)) < len(quantiles) or any(q != q for q in quantiles):
            raise Refused(Reason.BUCKETS)
        return Shape(len(quantiles) + 2, quantiles)

    def members(self, family: str, own: dict[str, str], shape: Shape) -> Iterator[tuple[str, dict[str, str]]]:
        """See `shape`."""
        own = {("exported_quantile" if name == "quantile" else name): value for name, value in own.items()}
        yield f"{family}_count", own
        yield f"{family}_sum", own
        for quantile in shape.bounds:
            yield family, {**own, "quantile": number_text(quantile)}

    def take(self, points: Points, entry: Entry, key: int, at: int, point: Any) -> None:
        """See `Reading`. What is over the limit of series is refused: quantiles of many do not add up."""
        if point.flags & NO_VALUE:
            points.ended(entry, at)
            return
        if entry.overflow:
            raise Refused(Reason.SERIES)
        if not math.isfinite(point.sum):
            raise Refused(Reason.VALUE)
        quantiles = [NAN if one.value != one.value else one.value for one in point.quantile_values]
        values = [float(point.count), point.sum, *quantiles]
        points.grown(entry, key, at, point.start_time_unix_nano, values, rising=0)


def number_text(value: float) -> str:
    """A bound as Prometheus writes it: without exponent, shortest."""
    return str(np.format_float_positional(value, trim="-"))
