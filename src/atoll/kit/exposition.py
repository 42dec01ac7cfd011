"""Numbers in Prometheus' text exposition format, version 0.0.4. Pure.

A metric is defined once: name, type, unit, help and label names. What comes from outside is escaped; a name that breaks
the conventions is refused when it is defined. (prometheus-client would cost 40 ms of every start for these lines.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
NAME = re.compile(r"atoll_[a-z][a-z0-9_]*")
LABEL = re.compile(r"[a-z][a-z0-9_]*")
UNITS = frozenset({"", "seconds", "bytes"})
"""Base units, as Prometheus has them; a metric without one counts things."""
SERIES_LIMIT = 20_000
"""Series of one metric that are told; more are left out, for a scrape must stay small."""


class Kind(StrEnum):
    """How a number moves."""

    COUNTER = "counter"
    """Only grows, and starts at 0 with its process."""
    GAUGE = "gauge"


@dataclass(frozen=True)
class Metric:
    """One definition."""

    name: str
    kind: Kind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        base = self.name.removesuffix("_total")
        assert NAME.fullmatch(self.name), self.name
        assert (self.kind is Kind.COUNTER) == self.name.endswith("_total"), self.name
        assert self.unit in UNITS, self.unit
        assert not self.unit or base.endswith(f"_{self.unit}"), self.name
        assert all(LABEL.fullmatch(label) for label in self.labels), self.labels
        assert self.help.endswith("."), self.help


Series = tuple[tuple[str, ...], float]
"""The values of a metric's labels, and its number."""


def render(families: Iterable[tuple[Metric, Sequence[Series]]]) -> str:
    """The text of a scrape; metrics without series are told as well, so that a dashboard finds their names.

    Of series that stand twice the first is told: a scrape with a duplicate would be refused as a whole.
    """
    lines: list[str] = []
    for metric, series in families:
        lines.append(f"# HELP {metric.name} {_help(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        told: dict[tuple[str, ...], float] = {}
        for values, number in series[:SERIES_LIMIT]:
            told.setdefault(values, number)
        for values, number in told.items():
            assert len(values) == len(metric.labels), metric.name
            pairs = ",".join(f'{label}="{_value(value)}"' for label, value in zip(metric.labels, values, strict=True))
            lines.append(f"{metric.name}{{{pairs}}} {_number(number)}" if pairs else f"{metric.name} {_number(number)}")
    return "\n".join(lines) + "\n"


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _value(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return escaped.encode("utf-8", "replace").decode("utf-8")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
