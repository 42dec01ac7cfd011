"""The words between what stores metrics and what asks for them: matchers, series with samples, native histograms.

Samples are NumPy columns. A stale series is marked by one NaN with bits of its own (Prometheus' StaleNaN), kept exactly
from the scrape to the answer; every other NaN is a value. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import re2

from atoll.errors import InvalidValue

Milliseconds: TypeAlias = npt.NDArray[np.int64]
Values: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Sorted by name, no empty values, with `__name__` among them."""

NAME = "__name__"
STALE_BITS = 0x7FF0000000000002
"""A signalling NaN, as Prometheus writes it: `value.StaleNaN`."""
STALE_BYTES = struct.pack("<Q", STALE_BITS)
STALE_NAN: float = struct.unpack("<d", STALE_BYTES)[0]
"""Mind that arithmetic may turn it into another NaN: assign it, never add to it."""
PATTERN_MEMORY = 4 << 20
"""Bytes that one compiled pattern may take."""
SCHEMA_LEAST, SCHEMA_MOST = -4, 8
"""Resolutions of native histograms: a bucket's bound is 2^(2^-schema) times the one before."""


class Op(StrEnum):
    """How a matcher compares."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    MATCHES_NOT = "!~"


@dataclass(frozen=True)
class Matcher:
    """One condition on a label; a series without the label has it as the empty text, as in Prometheus."""

    name: str
    op: Op
    value: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "op", Op(self.op))

    @property
    def takes_empty(self) -> bool:
        """Whether a series without the label matches; raises as `takes`."""
        return self.takes("")

    def takes(self, value: str) -> bool:
        """Whether `value` matches; patterns are RE2, anchored at both ends, as where the engine decides.

        Raises:
            InvalidValue: a pattern that cannot be read.
        """
        if self.op in (Op.EQUAL, Op.NOT_EQUAL):
            return (self.value == value) is (self.op is Op.EQUAL)
        return (_compiled(self.value).fullmatch(value) is not None) is (self.op is Op.MATCHES)


@dataclass(frozen=True, eq=False)
class Histogram:
    """One sample of a native histogram: counts are absolute, not differences.

    Bucket `i` of `positive` holds observations in (base^(offset+i-1), base^(offset+i)] with base = 2^(2^-schema): the
    indexes are Prometheus', which are OTLP's plus one. `negative` is the mirror image. `zero_count` is of
    [-zero_threshold, zero_threshold].
    """

    schema: int
    count: float
    sum: float
    zero_threshold: float = 0.0
    zero_count: float = 0.0
    positive_offset: int = 0
    positive: Values = field(default_factory=lambda: np.empty(0))
    negative_offset: int = 0
    negative: Values = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, eq=False)
class SeriesSamples:
    """One series with its samples in order of time, at most one for each millisecond.

    `histograms` is None for a series of numbers; else as long as `timestamps`, and where it holds a histogram that is
    the sample and the value beside it means nothing. A stale series of histograms is marked in `values` too.
    """

    labels: Labels
    timestamps: Milliseconds
    values: Values
    histograms: tuple[Histogram | None, ...] | None = None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_MEMORY
    try:
        return re2.compile(f"(?s:{pattern})", options)
    except re2.error as error:
        raise InvalidValue(f"the pattern cannot be read: {error}", hint="patterns are RE2's") from None


def labels_of(pairs: Mapping[str, str]) -> Labels:
    """Sorted, without empty values."""
    return tuple(sorted((name, value) for name, value in pairs.items() if value))


def is_stale(values: Values) -> npt.NDArray[np.bool_]:
    """Which of the values are the mark of staleness."""
    stale: npt.NDArray[np.bool_] = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64) == STALE_BITS
    return stale
