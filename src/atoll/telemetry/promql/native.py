"""Arithmetic of native histograms: sums and differences over different resolutions, quantiles, fractions, resets.

Interpolation inside a bucket is linear, as in Prometheus 2.42. Two histograms are brought to the coarser resolution and
the wider zero bucket before they are added; counts may be negative on the way, as in a difference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from atoll.telemetry.metrics.series import Histogram, Values


@dataclass(frozen=True, slots=True)
class Bucket:
    """`count` observations between two bounds; `rule` is how Prometheus' API codes which bounds belong to it."""

    lower: float
    upper: float
    count: float
    rule: int


def bound(schema: int, index: int) -> float:
    """The upper bound of a positive bucket."""
    try:
        return math.pow(2.0, index * 2.0**-schema)
    except OverflowError:
        return math.inf


def buckets(histogram: Histogram) -> Iterator[Bucket]:
    """Every bucket that is not empty, from the lowest value to the highest."""
    schema = histogram.schema
    for at in range(len(histogram.negative) - 1, -1, -1):
        if histogram.negative[at]:
            index = histogram.negative_offset + at
            yield Bucket(-bound(schema, index), -bound(schema, index - 1), float(histogram.negative[at]), 1)
    if histogram.zero_count:
        yield Bucket(-histogram.zero_threshold, histogram.zero_threshold, histogram.zero_count, 3)
    for at, count in enumerate(histogram.positive.tolist()):
        if count:
            index = histogram.positive_offset + at
            yield Bucket(bound(schema, index - 1), bound(schema, index), count, 0)


def times(histogram: Histogram, factor: float) -> Histogram:
    """Every count and the sum, multiplied."""
    return replace(
        histogram,
        count=histogram.count * factor,
        sum=histogram.sum * factor,
        zero_count=histogram.zero_count * factor,
        positive=histogram.positive * factor,
        negative=histogram.negative * factor,
    )


def plus(left: Histogram, right: Histogram) -> Histogram:
    """The sum of both, in the coarser resolution."""
    left, right = _alike(left, right)
    positive_offset, positive = _sum(left.positive_offset, left.positive, right.positive_offset, right.positive)
    negative_offset, negative = _sum(left.negative_offset, left.negative, right.negative_offset, right.negative)
    return Histogram(
        schema=left.schema,
        count=left.count + right.count,
        sum=left.sum + right.sum,
        zero_threshold=left.zero_threshold,
        zero_count=left.zero_count + right.zero_count,
        positive_offset=positive_offset,
        positive=positive,
        negative_offset=negative_offset,
        negative=negative,
    )


def same(left: Histogram, right: Histogram) -> bool:
    """Whether two histograms say the same in the same resolution."""
    if (left.schema, left.zero_threshold, left.zero_count, left.count, left.sum) != (
        right.schema,
        right.zero_threshold,
        right.zero_count,
        right.count,
        right.sum,
    ):
        return False
    return list(buckets(left)) == list(buckets(right))


def was_reset(now: Histogram, before: Histogram) -> bool:
    """Whether a histogram that only grows must have started anew between the two."""
    if now.count < before.count or now.schema > before.schema or now.zero_threshold < before.zero_threshold:
        return True
    widened = _widened(_coarser(before, now.schema), now.zero_threshold)
    if widened.zero_threshold != now.zero_threshold:
        return True
    change = plus(now, times(widened, -1.0))
    return change.zero_count < 0 or bool((change.positive < 0).any()) or bool((change.negative < 0).any())


def increase(samples: Sequence[Histogram], *, counter: bool) -> Histogram:
    """From the first sample to the last, with what resets took away added again."""
    schema = min(each.schema for each in samples) if counter else min(samples[0].schema, samples[-1].schema)
    result = plus(_coarser(samples[-1], schema), times(samples[0], -1.0))
    if counter:
        for before, now in itertools.pairwise(samples):
            if was_reset(now, before):
                result = plus(result, before)
    return result


def quantile(q: float, histogram: Histogram) -> float:
    """The φ-quantile: NaN without observations or of NaN, infinite outside of 0..1."""
    if q < 0:
        return -math.inf
    if q > 1:
        return math.inf
    if histogram.count == 0 or math.isnan(q):
        return math.nan
    rank = q * histogram.count
    count = 0.0
    bucket = Bucket(0.0, 0.0, 0.0, 0)
    for bucket in buckets(histogram):
        count += bucket.count
        if count >= rank:
            break
    lower, upper = _one_sided(bucket, histogram)
    count = min(count, histogram.count)
    if count < rank:
        return upper
    if not bucket.count:
        return lower
    return lower + (upper - lower) * ((rank - (count - bucket.count)) / bucket.count)


def fraction(lower: float, upper: float, histogram: Histogram) -> float:
    """The share of observations between two values."""
    if histogram.count == 0 or math.isnan(lower) or math.isnan(upper):
        return math.nan
    if lower >= upper:
        return 0.0
    below, above = _rank(lower, histogram), _rank(upper, histogram)
    return (above - below) / histogram.count


def _rank(value: float, histogram: Histogram) -> float:
    """How many observations are below `value`."""
    rank = 0.0
    for bucket in buckets(histogram):
        low, high = _one_sided(bucket, histogram)
        if low >= value:
            return min(rank, histogram.count)
        if high > value:
            return min(rank + bucket.count * (value - low) / (high - low), histogram.count)
        rank += bucket.count
    return histogram.count


def _one_sided(bucket: Bucket, histogram: Histogram) -> tuple[float, float]:
    """The bounds, where the zero bucket of a histogram with one sign ends at 0."""
    if bucket.lower < 0 < bucket.upper:
        if not len(histogram.negative) and len(histogram.positive):
            return 0.0, bucket.upper
        if not len(histogram.positive) and len(histogram.negative):
            return bucket.lower, 0.0
    return bucket.lower, bucket.upper


def _alike(left: Histogram, right: Histogram) -> tuple[Histogram, Histogram]:
    schema = min(left.schema, right.schema)
    left, right = _coarser(left, schema), _coarser(right, schema)
    while left.zero_threshold != right.zero_threshold:
        threshold = max(left.zero_threshold, right.zero_threshold)
        left, right = _widened(left, threshold), _widened(right, threshold)
    return left, right


def _coarser(histogram: Histogram, schema: int) -> Histogram:
    """The histogram in a lower resolution."""
    shift = histogram.schema - schema
    if shift <= 0:
        return histogram
    positive_offset, positive = _folded(histogram.positive_offset, histogram.positive, shift)
    negative_offset, negative = _folded(histogram.negative_offset, histogram.negative, shift)
    return replace(
        histogram,
        schema=schema,
        positive_offset=positive_offset,
        positive=positive,
        negative_offset=negative_offset,
        negative=negative,
    )


def _folded(offset: int, counts: Values, shift: int) -> tuple[int, Values]:
    if not len(counts):
        return 0, counts
    index = ((np.arange(len(counts)) + offset - 1) >> shift) + 1
    least = int(index[0])
    return least, np.bincount(index - least, weights=counts).astype(np.float64)


def _widened(histogram: Histogram, threshold: float) -> Histogram:
    """With a zero bucket up to `threshold`, or up to the end of the bucket in which that lies."""
    if threshold <= histogram.zero_threshold:
        return histogram
    zero = histogram.zero_count
    for offset, counts in (
        (histogram.positive_offset, histogram.positive),
        (histogram.negative_offset, histogram.negative),
    ):
        for at, count in enumerate(counts.tolist()):
            if bound(histogram.schema, offset + at - 1) >= threshold:
                break
            if count:
                threshold = max(threshold, bound(histogram.schema, offset + at))
    kept: list[tuple[int, Values]] = []
    for offset, counts in (
        (histogram.positive_offset, histogram.positive),
        (histogram.negative_offset, histogram.negative),
    ):
        inside = 0
        while inside < len(counts) and bound(histogram.schema, offset + inside) <= threshold:
            inside += 1
        zero += float(counts[:inside].sum())
        kept.append((offset + inside, counts[inside:]))
    return replace(
        histogram,
        zero_threshold=threshold,
        zero_count=zero,
        positive_offset=kept[0][0],
        positive=kept[0][1],
        negative_offset=kept[1][0],
        negative=kept[1][1],
    )


def _sum(left_offset: int, left: Values, right_offset: int, right: Values) -> tuple[int, Values]:
    if not len(left) or not len(right):
        return (right_offset, right.copy()) if not len(left) else (left_offset, left.copy())
    least = min(left_offset, right_offset)
    made = np.zeros(max(left_offset + len(left), right_offset + len(right)) - least)
    made[left_offset - least : left_offset - least + len(left)] += left
    made[right_offset - least : right_offset - least + len(right)] += right
    return least, made
