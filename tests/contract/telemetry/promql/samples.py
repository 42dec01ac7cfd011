"""The samples over which our answers are compared with Prometheus': fixed numbers from a fixed seed.

Counters with resets, gauges with NaN and infinities, series that go stale, gaps, jitter, samples exactly on the bounds
of a range, classic histograms with broken buckets, native histograms with resets and two resolutions.
"""

from __future__ import annotations

import math
import random

import numpy as np

from atoll.telemetry.metrics.series import NAME, STALE_NAN, Histogram, Labels, SeriesSamples, labels_of

BEGIN = 1_700_000_010_000
"""Milliseconds of the first scrape; a multiple of the interval."""
EVERY = 15_000
COUNT = 240
"""Scrapes: one hour."""
END = BEGIN + (COUNT - 1) * EVERY
Points = list[tuple[int, float]]


def all_samples() -> list[SeriesSamples]:
    """Every series, sorted by labels."""
    rng = random.Random(20_261_121)
    made: list[SeriesSamples] = []
    _requests(rng, made)
    _latencies(rng, made)
    _gauges(rng, made)
    _odd(made)
    _natives(rng, made)
    return sorted(made, key=lambda one: one.labels)


def _scrapes(phase: int = 0) -> list[int]:
    return [BEGIN + phase + at * EVERY for at in range(COUNT)]


def _add(made: list[SeriesSamples], name: str, points: Points, **labels: str) -> None:
    made.append(_series(labels_of({NAME: name, **labels}), points))


def _series(labels: Labels, points: Points) -> SeriesSamples:
    return SeriesSamples(
        labels,
        np.array([at for at, _ in points], dtype=np.int64),
        np.array([value for _, value in points], dtype=np.float64),
    )


def _requests(rng: random.Random, made: list[SeriesSamples]) -> None:
    """Counters; api-1 restarts twice, web-0 is scraped with jitter, web-1 is gone for 12 minutes, marked as stale."""
    for job in ("api", "web"):
        for at in range(2):
            instance = f"{job}-{at}:8080"
            for method, code, speed in (("GET", "200", 9.0), ("GET", "500", 0.3), ("POST", "200", 2.0)):
                value = rng.uniform(0, 1000)
                points: Points = []
                for step, moment in enumerate(_scrapes(phase=at * 3_000)):
                    value += rng.uniform(0, 2 * speed) * 15 if rng.random() < 0.9 else 0.0
                    if job == "api" and at == 1 and step in (90, 170):
                        value = rng.uniform(0, 5)
                    when = moment + (rng.randrange(-900, 900) if (job, at) == ("web", 0) else 0)
                    if (job, at) == ("web", 1) and 100 <= step < 148:
                        if step == 100:
                            points.append((when, STALE_NAN))
                        continue
                    points.append((when, round(value, 3)))
                _add(made, "http_requests_total", points, job=job, instance=instance, method=method, code=code)


def _latencies(rng: random.Random, made: list[SeriesSamples]) -> None:
    bounds = [0.005, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, math.inf]
    for job, instance in (("api", "api-0:8080"), ("api", "api-1:8080"), ("web", "web-0:8080")):
        counts, total = [0.0] * len(bounds), 0.0
        points: list[Points] = [[] for _ in bounds]
        sums: Points = []
        for step, moment in enumerate(_scrapes()):
            if instance == "api-1:8080" and step == 120:
                counts, total = [0.0] * len(bounds), 0.0
            for _ in range(rng.randrange(0, 30)):
                took = rng.lognormvariate(-2, 1)
                total += took
                for at, bound in enumerate(bounds):
                    counts[at] += took <= bound
            sums.append((moment, total))
            for at in range(len(bounds)):
                points[at].append((moment, counts[at]))
        for at, bound in enumerate(bounds):
            le = "+Inf" if math.isinf(bound) else f"{bound:g}"
            _add(made, "latency_seconds_bucket", points[at], job=job, instance=instance, le=le)
        _add(made, "latency_seconds_sum", sums, job=job, instance=instance)
        _add(made, "latency_seconds_count", points[-1], job=job, instance=instance)
    broken: dict[str, dict[str, float]] = {"no_inf": {"1": 3, "2": 7}, "falling": {"1": 5, "2": 3, "3": 9, "+Inf": 9}, "one": {"+Inf": 4},
              "empty": {"1": 0, "+Inf": 0}, "negative": {"-2": 2, "-1": 5, "+Inf": 8}, "same": {"1": 1, "1.0": 2, "2": 5, "+Inf": 6},
              "words": {"low": 1, "2": 4, "+Inf": 6}, "nan": {"1": math.nan, "2": 4, "+Inf": 6}}  # fmt: skip
    for kind, buckets in broken.items():
        for le, count in buckets.items():
            _add(made, "broken_bucket", [(at, float(count)) for at in _scrapes()], kind=kind, le=le)


def _gauges(rng: random.Random, made: list[SeriesSamples]) -> None:
    for job in ("api", "web"):
        for at in range(2):
            instance = f"{job}-{at}:8080"
            phase = rng.uniform(0, 6)
            points = [
                (moment, round(5e8 + 1e8 * math.sin(step / 20 + phase) + rng.uniform(-1e7, 1e7), 1))
                for step, moment in enumerate(_scrapes())
            ]
            _add(made, "memory_bytes", points, job=job, instance=instance)
            up = [(moment, 0.0 if (job, at) == ("web", 1) and 100 <= step < 148 else 1.0)
                  for step, moment in enumerate(_scrapes())]  # fmt: skip
            _add(made, "up", up, job=job, instance=instance)
            version = "1.2.0" if at else "1.3.0-rc1"
            _add(made, "build_info", [(m, 1.0) for m in _scrapes()], job=job, instance=instance, version=version)
    for site in ("north", "south", "east"):
        points = [(moment, float(rng.randrange(-5, 5))) for moment in _scrapes()]
        _add(made, "temperature", points, site=site)
    _add(made, "limit_bytes", [(m, 6e8) for m in _scrapes()], job="api")
    _add(made, "limit_bytes", [(m, 5.5e8) for m in _scrapes()], job="web")


def _odd(made: list[SeriesSamples]) -> None:
    for kind, value in {
        "nan": math.nan, "inf": math.inf, "minus_inf": -math.inf, "zero": 0.0, "minus": -2.5, "tiny": 1e-7, "huge": 1.5e300,
        "half": 0.5, "minus_half": -0.5, "large": 123456789012345678.0,
    }.items():  # fmt: skip
        _add(made, "odd", [(at, value) for at in _scrapes()], kind=kind)
    mixed = [1.0, math.nan, 3.0, -math.inf, 5.0, math.inf, math.nan, 0.0]
    _add(made, "wild", [(at, mixed[step % 8]) for step, at in enumerate(_scrapes())], of="all")
    _add(made, "wild", [(at, [1.0, math.nan, 2.0][step % 3]) for step, at in enumerate(_scrapes())], of="nan")
    _add(made, "wild", [(at, 1.0 if step < 50 else math.inf) for step, at in enumerate(_scrapes())], of="inf")
    _add(made, "rare", [(BEGIN, 1.0), (BEGIN + 1_200_000, 2.0), (BEGIN + 1_500_000, 3.0)], kind="exact")
    _add(made, "rare", [(BEGIN + 600_000, 7.0), (BEGIN + 660_000, STALE_NAN)], kind="gone")
    _add(made, "rare", [(BEGIN + 1_800_000, 42.0)], kind="once")
    _add(made, "flat", [(at, 17.0) for at in _scrapes()], kind="constant")
    _add(made, "ramp", [(at, 3.0 * step + 1) for step, at in enumerate(_scrapes())], kind="up")
    _add(made, "ramp", [(at, 900 - 2.5 * step) for step, at in enumerate(_scrapes())], kind="down")
    _add(
        made,
        "words",
        [(at, 1.0) for at in _scrapes()],
        path="/a b",
        quote='say "x"',
        accent="é",
        back="a\\b",
        line="a\nb",
    )
    _add(made, "words", [(at, 2.0) for at in _scrapes()], path="/c/d-1", quote="", accent="ß")
    _add(made, "dates", [(at, 1_709_210_096.0) for at in _scrapes()], day="leap")
    _add(made, "dates", [(at, 951_782_400.0 - 1) for at in _scrapes()], day="end_of_february")
    _add(made, "dates", [(at, -86_400.5) for at in _scrapes()], day="before_1970")


def _natives(rng: random.Random, made: list[SeriesSamples]) -> None:
    """Observations of 0.001..10 counted in exponential buckets; b restarts, c has another resolution and negatives."""
    for instance, schema in (("a", 2), ("b", 2), ("c", 1)):
        counts: dict[int, int] = {}
        below: dict[int, int] = {}
        zero, total = 0, 0.0
        histograms: list[Histogram] = []
        for step in range(COUNT):
            if instance == "b" and step == 130:
                counts, zero, total = {}, 0, 0.0
            for _ in range(rng.randrange(0, 6)):
                value = rng.lognormvariate(-1, 1.2)
                if rng.random() < 0.1:
                    zero += 1
                    continue
                if instance == "c" and rng.random() < 0.3:
                    below[_index(value, schema)] = below.get(_index(value, schema), 0) + 1
                    total -= value
                    continue
                total += value
                counts[_index(value, schema)] = counts.get(_index(value, schema), 0) + 1
            histograms.append(_histogram(schema, counts, below, zero, total))
        made.append(
            SeriesSamples(
                labels_of({NAME: "rpc_seconds", "instance": instance, "job": "rpc"}),
                np.array(_scrapes(), dtype=np.int64),
                np.zeros(COUNT),
                tuple(histograms),
            )
        )


def _index(value: float, schema: int) -> int:
    return math.ceil(math.ldexp(math.log2(value), schema))


def _histogram(schema: int, counts: dict[int, int], below: dict[int, int], zero: int, total: float) -> Histogram:
    offset, positive = _dense(counts)
    negative_offset, negative = _dense(below)
    return Histogram(
        schema=schema,
        count=float(sum(counts.values()) + sum(below.values()) + zero),
        sum=total,
        zero_threshold=2.938735877055719e-39,
        zero_count=float(zero),
        positive_offset=offset,
        positive=positive,
        negative_offset=negative_offset,
        negative=negative,
    )


def _dense(counts: dict[int, int]) -> tuple[int, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    if not counts:
        return 0, np.empty(0)
    least, most = min(counts), max(counts)
    return least, np.array([float(counts.get(index, 0)) for index in range(least, most + 1)])
