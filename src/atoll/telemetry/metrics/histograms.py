"""Arithmetic of native histograms: OTLP's exponential ones as Prometheus', sums of two, coarser resolution. Pure."""

from __future__ import annotations

import math

import numpy as np

from atoll.telemetry.metrics.series import SCHEMA_LEAST, SCHEMA_MOST, Histogram, Values

ZERO_THRESHOLD = 1e-128
"""Width of the zero bucket when the sender does not say, as Prometheus takes it."""
BUCKETS_LIMIT = 1000
"""Buckets of one sample; SDKs send 160."""


def converted(
    *,
    scale: int,
    count: float,
    sum: float,  # noqa: A002 - OTLP's word
    zero_threshold: float,
    zero_count: float,
    positive: tuple[int, Values],
    negative: tuple[int, Values],
) -> Histogram | None:
    """An exponential histogram of OTLP; None when its scale is coarser than any that there is here, or it is too big.

    OTLP's bucket i is (base^i, base^(i+1)], ours is (base^(i-1), base^i]; a finer scale than 8 is made coarser.
    """
    if scale < SCHEMA_LEAST or len(positive[1]) > BUCKETS_LIMIT or len(negative[1]) > BUCKETS_LIMIT:
        return None
    down = max(0, scale - SCHEMA_MOST)
    positive_offset, positives = _coarser(positive[0] + 1, positive[1], down)
    negative_offset, negatives = _coarser(negative[0] + 1, negative[1], down)
    return Histogram(
        schema=scale - down,
        count=count,
        sum=sum,
        zero_threshold=zero_threshold or ZERO_THRESHOLD,
        zero_count=zero_count,
        positive_offset=positive_offset,
        positive=positives,
        negative_offset=negative_offset,
        negative=negatives,
    )


def added(one: Histogram, other: Histogram, *, sign: int = 1) -> Histogram | None:
    """`one` and `other` together (or, with sign -1, what `one` has more); None when that would be too big.

    At the coarser resolution of both; buckets that a wider zero bucket covers go into it.
    """
    schema = min(one.schema, other.schema)
    threshold = max(one.zero_threshold, other.zero_threshold)
    one, other = _at(one, schema, threshold), _at(other, schema, threshold)
    positive = _aligned((one.positive_offset, one.positive), (other.positive_offset, other.positive), sign)
    negative = _aligned((one.negative_offset, one.negative), (other.negative_offset, other.negative), sign)
    if positive is None or negative is None:
        return None
    return Histogram(
        schema=schema,
        count=max(0.0, one.count + sign * other.count),
        sum=one.sum + sign * other.sum,
        zero_threshold=threshold,
        zero_count=max(0.0, one.zero_count + sign * other.zero_count),
        positive_offset=positive[0],
        positive=positive[1],
        negative_offset=negative[0],
        negative=negative[1],
    )


def _at(histogram: Histogram, schema: int, threshold: float) -> Histogram:
    down = histogram.schema - schema
    positive_offset, positive = _coarser(histogram.positive_offset, histogram.positive, down)
    negative_offset, negative = _coarser(histogram.negative_offset, histogram.negative, down)
    zero = histogram.zero_count
    if threshold > histogram.zero_threshold:
        last = math.floor(math.log2(threshold) * 2.0**schema)
        positive_offset, positive, more = _cut(positive_offset, positive, last)
        negative_offset, negative, less = _cut(negative_offset, negative, last)
        zero += more + less
    return Histogram(
        schema=schema,
        count=histogram.count,
        sum=histogram.sum,
        zero_threshold=threshold,
        zero_count=zero,
        positive_offset=positive_offset,
        positive=positive,
        negative_offset=negative_offset,
        negative=negative,
    )


def _cut(offset: int, counts: Values, last: int) -> tuple[int, Values, float]:
    """Without the buckets up to index `last`, and what was in them."""
    gone = min(len(counts), max(0, last - offset + 1))
    return offset + gone, counts[gone:], float(counts[:gone].sum())


def _coarser(offset: int, counts: Values, down: int) -> tuple[int, Values]:
    """Each bucket i goes into the one with the index ceil(i / 2^down)."""
    if down == 0 or not len(counts):
        return offset, counts
    indexes = -((-(np.arange(len(counts)) + offset)) >> down)
    first = int(indexes[0])
    merged = np.zeros(int(indexes[-1]) - first + 1)
    np.add.at(merged, indexes - first, counts)
    return first, merged


def _aligned(one: tuple[int, Values], other: tuple[int, Values], sign: int) -> tuple[int, Values] | None:
    if not len(other[1]):
        return one
    parts = [part for part in (one, other) if len(part[1])]
    first = min(offset for offset, _ in parts)
    width = max(offset + len(counts) for offset, counts in parts) - first
    if width > BUCKETS_LIMIT:
        return None
    total = np.zeros(width)
    for (offset, counts), factor in ((one, 1), (other, sign)):
        if len(counts):
            total[offset - first : offset - first + len(counts)] += factor * counts
    return first, np.maximum(total, 0.0)
