"""What `/metrics` answers, read: Prometheus' text format 0.0.4 and OpenMetrics 1.0. Pure.

A page is good as a whole or refused as a whole, as in Prometheus. A line whose series is known is only cut, its labels
are not read again: that is what makes scraping cheap. Labels are read by prometheus-client.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from atoll.telemetry.metrics.names import Kind, is_metric

LINES_LIMIT = 50_000
"""Samples of one page; more are refused."""
LABELS_LIMIT = 128
"""Labels of one series."""
HELP_LIMIT = 500
NAN = float("nan")
SUFFIXES = ("_total", "_bucket", "_sum", "_count", "_created", "_info", "_gsum", "_gcount")
KINDS = {
    "counter": Kind.COUNTER,
    "gauge": Kind.GAUGE,
    "histogram": Kind.HISTOGRAM,
    "gaugehistogram": Kind.GAUGE,
    "summary": Kind.SUMMARY,
    "info": Kind.INFO,
    "stateset": Kind.STATESET,
}
_SERIES = re.compile(r'[^\s{#]*+(?:\{(?:[^"}]++|"(?:[^"\\]++|\\.)*+")*+\})?', re.DOTALL)
_ESCAPE = re.compile(r"\\([\\n])")


class Malformed(ValueError):
    """A page that cannot be read; `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


@dataclass
class Family:
    """What a page says of a metric."""

    name: str
    kind: Kind = Kind.UNKNOWN
    unit: str = ""
    help: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """An exemplar at a sample."""

    labels: dict[str, str]
    value: float
    at: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: `series` as written, to be read by `labels_of`."""

    series: str
    value: float
    at: int | None
    """Milliseconds, when the page says so."""
    example: Example | None = None


@dataclass
class Page:
    """A page that was read."""

    samples: list[Sample] = field(default_factory=list)
    families: dict[str, Family] = field(default_factory=dict)

    def family(self, name: str) -> Family:
        """The family that a series of this name belongs to."""
        known = self.families.get(name)
        if known is not None:
            return known
        for suffix in SUFFIXES:
            if name.endswith(suffix) and (known := self.families.get(name[: -len(suffix)])) is not None:
                return known
        return Family(name)


def page_of(text: str, *, openmetrics: bool) -> Page:
    """Read a page.

    Raises:
        Malformed: some line of it is not of the format, or there are too many.
    """
    page = Page()
    ended = False
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if not line:
            continue
        if ended:
            raise Malformed(number, "something follows # EOF")
        if line[0] == "#":
            ended = openmetrics and line == "# EOF"
            _comment(page, line)
            continue
        if len(page.samples) >= LINES_LIMIT:
            raise Malformed(number, f"more than {LINES_LIMIT} samples")
        page.samples.append(_sample(line, number, openmetrics=openmetrics))
    if openmetrics and not ended:
        raise Malformed(text.count("\n") + 1, "there is no # EOF")
    return page


def labels_of(series: str) -> tuple[str, dict[str, str]]:
    """Name and labels of a series as written; labels that are empty are left out.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        (family,) = text_string_to_metric_families(f"{series} 1\n")
        (sample,) = family.samples
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the series cannot be read: {type(error).__name__}") from None
    labels = {name: value for name, value in sample.labels.items() if value}
    if not is_metric(sample.name) or len(labels) > LABELS_LIMIT or "__name__" in labels:
        raise ValueError("the series has no usable name, or too many labels")
    return sample.name, labels


def _sample(line: str, number: int, *, openmetrics: bool) -> Sample:
    found = _SERIES.match(line)
    series = found[0] if found else ""
    rest = line[len(series) :]
    if not series or not rest[:1].isspace():
        raise Malformed(number, "it does not begin with a series and a space")
    example = None
    if openmetrics and "#" in rest:
        rest, _, said = rest.partition("#")
        example = _example(said.strip(), number)
    words = rest.split()
    if not 1 <= len(words) <= 2:
        raise Malformed(number, "there should be a value, and perhaps a time, after the series")
    at = None
    if len(words) == 2:
        at = _milliseconds(words[1], number, openmetrics=openmetrics)
    return Sample(series, _number(words[0], number), at, example)


def _example(said: str, number: int) -> Example | None:
    found = _SERIES.match(said)
    words = said[len(found[0]) :].split() if found else []
    if found is None or not found[0].startswith("{") or not 1 <= len(words) <= 2:
        raise Malformed(number, "the exemplar cannot be read")
    try:
        _, labels = labels_of(f"exemplar{found[0]}")
    except ValueError:
        raise Malformed(number, "the exemplar's labels cannot be read") from None
    at = _milliseconds(words[1], number, openmetrics=True) if len(words) == 2 else None
    return Example(labels, _number(words[0], number), at)


def _number(word: str, number: int) -> float:
    try:
        value = float(word)
    except ValueError:
        raise Malformed(number, "the value is no number") from None
    if "_" in word:
        raise Malformed(number, "the value is no number")
    return NAN if value != value else value


def _milliseconds(word: str, number: int, *, openmetrics: bool) -> int:
    value = _number(word, number)
    if not math.isfinite(value) or abs(value) > 1e15:
        raise Malformed(number, "the time is none")
    return round(value * 1000) if openmetrics else int(value)


def _comment(page: Page, line: str) -> None:
    words = line.split(None, 3)
    if len(words) < 3 or words[0] != "#" or words[1] not in {"HELP", "TYPE", "UNIT"} or not is_metric(words[2]):
        return
    if len(page.families) >= LINES_LIMIT:
        return
    family = page.families.setdefault(words[2], Family(words[2]))
    said = words[3] if len(words) == 4 else ""
    if words[1] == "TYPE":
        family.kind = KINDS.get(said, Kind.UNKNOWN)
    elif words[1] == "UNIT":
        family.unit = said[:64]
    else:
        family.help = _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else "\\", said)[:HELP_LIMIT]
