"""Values in the shape of Prometheus' API: numbers as text, times in seconds, histograms with their buckets."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from atoll.telemetry.metrics.series import Histogram, Labels
from atoll.telemetry.promql import native
from atoll.telemetry.promql.number import api
from atoll.telemetry.promql.select import unstale
from atoll.telemetry.promql.value import Grid, Matrix, Scalar, Value, Vector


def seconds(milliseconds: int) -> float | int:
    """A time as the API writes it: whole seconds without a point."""
    return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000


def instant(value: Value, grid: Grid) -> dict[str, Any]:
    """The `data` of an instant query."""
    now = seconds(grid.start)
    match value:
        case str():
            return {"resultType": "string", "result": [now, value]}
        case Scalar():
            return {"resultType": "scalar", "result": [now, api(float(value.values[0]))]}
        case Matrix():
            return {"resultType": "matrix", "result": _range_vector(value)}
        case Vector():
            result = []
            for row, labels in enumerate(value.labels):
                if value.present[row, 0]:
                    histogram = None if value.histograms is None else value.histograms[row, 0]
                    entry: dict[str, Any] = {"metric": dict(labels)}
                    if histogram is None:
                        entry["value"] = [now, api(float(value.values[row, 0]))]
                    else:
                        entry["histogram"] = [now, shown(histogram)]
                    result.append(entry)
            return {"resultType": "vector", "result": result}


def matrix(value: Value, grid: Grid) -> dict[str, Any]:
    """The `data` of a range query: series in order of their labels."""
    if isinstance(value, Scalar):
        times = [seconds(at) for at in grid.times.tolist()]
        listed = [list(pair) for pair in zip(times, map(api, value.values.tolist()), strict=True)]
        return {"resultType": "matrix", "result": [{"metric": {}, "values": listed}]}
    assert isinstance(value, Vector), "others were refused"
    times = [seconds(at) for at in grid.times.tolist()]
    stamps = [f"[{at}," for at in times]
    result: list[dict[str, Any]] = []
    for row in sorted(range(len(value.labels)), key=value.labels.__getitem__):
        if value.present[row].any():
            steps = value.present[row].nonzero()[0].tolist()
            numbers = value.values[row].tolist()
            if value.histograms is None:  # most answers, and the bulk of what is written: as text at once
                pairs = ",".join([f'{stamps[step]}"{api(numbers[step])}"]' for step in steps])
                result.append({"metric": dict(value.labels[row]), "values": Raw(f"[{pairs}]".encode())})
                continue
            natives = value.histograms[row].tolist()
            points = [(times[step], numbers[step], natives[step]) for step in steps]
            result.append(_series(value.labels[row], points))
    return {"resultType": "matrix", "result": result}


def _range_vector(value: Matrix) -> list[dict[str, Any]]:
    """The samples of one window, as they were taken."""
    result = []
    end = int(value.ends[0])
    for one in unstale(value.series):
        inside = ((one.timestamps >= end - value.range) & (one.timestamps <= end)).nonzero()[0].tolist()
        points = [
            (
                seconds(int(one.timestamps[at])),
                float(one.values[at]),
                None if one.histograms is None else one.histograms[at],
            )
            for at in inside
        ]
        if points:
            result.append(_series(one.labels, points))
    return result


def _series(labels: Labels, points: list[tuple[float | int, float, Histogram | None]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"metric": dict(labels)}
    numbers = [[at, api(value)] for at, value, histogram in points if histogram is None]
    natives = [[at, shown(histogram)] for at, _, histogram in points if histogram is not None]
    if numbers:
        entry["values"] = numbers
    if natives:
        entry["histograms"] = natives
    return entry


def shown(histogram: Histogram) -> dict[str, Any]:
    """A native histogram: each bucket is [which bounds belong to it, lower, upper, count]."""
    entry: dict[str, Any] = {"count": api(histogram.count), "sum": api(histogram.sum)}
    found = [
        [bucket.rule, api(bucket.lower), api(bucket.upper), api(bucket.count)] for bucket in native.buckets(histogram)
    ]
    if found:
        entry["buckets"] = found
    return entry
