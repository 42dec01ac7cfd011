"""What expressions yield, over all steps of a query at once: rows are series, columns are steps.

`present` says where a series has a sample: NaN is a value like others. Where `histograms` holds one, that is the
sample and the number beside it means nothing. Labels are unique within a vector wherever two rows are present together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from atoll.telemetry.metrics.series import NAME, Histogram, Labels, Milliseconds, SeriesSamples, Values
from atoll.telemetry.promql.refusal import EvaluationError

Mask: TypeAlias = npt.NDArray[np.bool_]
Objects: TypeAlias = npt.NDArray[np.object_]
Indexes: TypeAlias = npt.NDArray[np.int64]
SAME_LABELS = "vector cannot contain metrics with the same labelset"


@dataclass(frozen=True)
class Grid:
    """The instants of an evaluation, in ms: `start`, then every `step` up to `end`."""

    start: int
    end: int
    step: int

    @property
    def count(self) -> int:
        """How many instants."""
        return (self.end - self.start) // self.step + 1

    @property
    def times(self) -> Milliseconds:
        """All of them."""
        return self.start + self.step * np.arange(self.count, dtype=np.int64)


@dataclass(eq=False)
class Vector:
    """Series over the steps."""

    labels: list[Labels]
    values: Values
    present: Mask
    histograms: Objects | None = None

    def rows(self, chosen: npt.ArrayLike) -> Vector:
        """Some of the rows, in this order."""
        index = np.asarray(chosen, dtype=np.int64)
        return Vector(
            [self.labels[at] for at in index.tolist()],
            self.values[index],
            self.present[index],
            None if self.histograms is None else self.histograms[index],
        )

    def with_values(self, values: Values) -> Vector:
        """Other numbers under the same labels; histograms are left out."""
        return Vector(self.labels, values, self.floats)

    @property
    def floats(self) -> Mask:
        """Where a number is the sample."""
        if self.histograms is None:
            return self.present
        return self.present & ~self.natives

    @property
    def natives(self) -> Mask:
        """Where a histogram is the sample."""
        if self.histograms is None:
            return np.zeros_like(self.present)
        return self.present & held(self.histograms)


@dataclass(eq=False)
class Scalar:
    """One number at each step."""

    values: Values


@dataclass(eq=False)
class Matrix:
    """Samples without marks of staleness, and the windows (end - range, end] … over them, both ends closed."""

    series: list[SeriesSamples]
    ends: Milliseconds
    range: int


Value: TypeAlias = Vector | Scalar | Matrix | str


def held(histograms: Objects) -> Mask:
    """Where there is a histogram."""
    flat = [item is not None for item in histograms.ravel().tolist()]
    return np.array(flat, dtype=bool).reshape(histograms.shape)


def empty(steps: int) -> Vector:
    """No series."""
    return Vector([], np.empty((0, steps)), np.empty((0, steps), dtype=bool))


def nameless(labels: Labels) -> Labels:
    """Without the metric's name."""
    return tuple(pair for pair in labels if pair[0] != NAME)


def dropped(vector: Vector) -> Vector:
    """The vector without metric names.

    Raises:
        EvaluationError: two series cannot be told apart any more.
    """
    return merged(Vector([nameless(each) for each in vector.labels], vector.values, vector.present, vector.histograms))


def merged(vector: Vector, *, strict: bool = False, error: str = SAME_LABELS) -> Vector:
    """Rows with equal labels made one.

    Raises:
        EvaluationError: they have a sample at the same step, or (`strict`) at any.
    """
    first: dict[Labels, int] = {}
    for index, labels in enumerate(vector.labels):
        first.setdefault(labels, index)
    if len(first) == len(vector.labels):
        return vector
    values, present = vector.values.copy(), vector.present.copy()
    histograms = None if vector.histograms is None else vector.histograms.copy()
    for index, labels in enumerate(vector.labels):
        into = first[labels]
        if into == index or not present[index].any():
            continue
        if (present[into] & present[index]).any() or (strict and present[into].any()):
            raise EvaluationError(error)
        at = present[index]
        values[into, at] = values[index, at]
        present[into] |= at
        if histograms is not None:
            histograms[into, at] = histograms[index, at]
    return Vector(list(vector.labels), values, present, histograms).rows(list(first.values()))


def joined(parts: Sequence[Vector], steps: int) -> Vector:
    """The rows of all; labels may repeat."""
    kept = [part for part in parts if part.labels]
    if not kept:
        return empty(steps)
    natives = any(part.histograms is not None for part in kept)
    return Vector(
        [labels for part in kept for labels in part.labels],
        np.concatenate([part.values for part in kept]),
        np.concatenate([part.present for part in kept]),
        np.concatenate([_objects(part) for part in kept]) if natives else None,
    )


def _objects(part: Vector) -> Objects:
    return np.full(part.values.shape, None, dtype=object) if part.histograms is None else part.histograms


def each_native(vector: Vector, change: Callable[[Histogram], float]) -> Vector:
    """A number for each histogram; numbers are left out."""
    there = vector.natives
    values = np.zeros(vector.values.shape)
    if vector.histograms is not None:
        for row, step in np.argwhere(there):
            values[row, step] = change(vector.histograms[row, step])
    return Vector(vector.labels, values, there)


def objects_of(shape: tuple[int, ...], items: Iterable[tuple[tuple[int, int], Histogram]]) -> Objects | None:
    """An array with histograms at some places; None when there are none."""
    made: Objects | None = None
    for place, item in items:
        if made is None:
            made = np.full(shape, None, dtype=object)
        made[place] = item
    return made
