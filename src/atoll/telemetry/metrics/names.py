"""What OTLP calls a metric or an attribute, as Prometheus calls it: the rules of its OTLP receiver. Pure.

Illegal characters become underscores, units are written out (`s` → `_seconds`, `By/s` → `_bytes_per_second`), counters
end in `_total`, gauges of unit 1 in `_ratio`. Names that would be reserved (`__…`) or empty are refused or renamed, so
that nobody can set `__name__` from outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

NAME_LIMIT = 512
"""Characters of a metric's or label's name."""
VALUE_LIMIT = 2048
"""Characters of a label's value; the rest is cut."""
OVERFLOW = "otel_metric_overflow"
"""Label, with the value `true`, of the series in which everything beyond a limit is added up; OTel's SDKs say it so."""
EXPORTED = "exported_"
"""Before a label of the metric's own that has the name of one of ours."""

UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tibibytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes",
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius",
    "Hz": "hertz", "1": "", "%": "percent",
}  # fmt: skip
PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_NOT_METRIC = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_MANY = re.compile(r"__+")


class Kind(StrEnum):
    """What a metric is, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    INFO = "info"
    STATESET = "stateset"
    UNKNOWN = "unknown"


@lru_cache(maxsize=4096)
def metric_name(name: str, unit: str, kind: Kind) -> str:
    """The translated name; empty when there is none (no letter or digit in it, or too long)."""
    if len(name) > NAME_LIMIT or len(unit) > NAME_LIMIT:
        return ""
    words = [word for word in _NOT_METRIC.split(name) if word]
    if not words:
        return ""
    main, per = _unit_words(unit)
    if main and main not in words:
        words.append(main)
    if per and per not in words:
        words.append(per)
    if kind is Kind.COUNTER:
        words = [*(word for word in words if word != "total"), "total"]
    if unit == "1" and kind is Kind.GAUGE:
        words = [*(word for word in words if word != "ratio"), "ratio"]
    joined = "_".join(words)
    return f"_{joined}" if joined[0].isdigit() else joined


def unit_word(unit: str) -> str:
    """The unit as metadata tells it: `seconds`, `bytes_per_second`."""
    return "_".join(word for word in _unit_words(unit) if word)


def _unit_words(unit: str) -> tuple[str, str]:
    main, _, per = unit.partition("/")
    main, per = main.strip(), per.strip()
    main = "" if "{" in main or "}" in main else _clean(UNITS.get(main, main))
    per = "" if "{" in per or "}" in per else _clean(PER.get(per, per))
    return main, f"per_{per}" if per else ""


def _clean(unit: str) -> str:
    return _NOT_METRIC.sub("_", unit).strip("_")


@lru_cache(maxsize=4096)
def label_name(name: str) -> str:
    """The translated name of an attribute; empty when there is none."""
    if len(name) > NAME_LIMIT or not name.strip("_"):
        return ""
    clean = _MANY.sub("_", _NOT_LABEL.sub("_", name))
    if not clean.strip("_"):
        return ""
    if clean[0].isdigit():
        return f"key_{clean}"
    return f"key{clean}" if clean[0] == "_" else clean


def is_metric(name: str) -> bool:
    """Whether a scraped name is one of the classical grammar, and of a sane length."""
    return len(name) <= NAME_LIMIT and _METRIC.fullmatch(name) is not None


def translated(attributes: Iterable[tuple[str, str]], own: dict[str, str]) -> dict[str, str]:
    """Labels of a series: `own` (service, job, instance, …) and the attributes under names that do not hide them.

    Attributes whose names fall together are joined with `;` in the order of their names, as Prometheus does it.
    """
    labels: dict[str, str] = {}
    for raw, value in sorted(attributes):
        name = label_name(raw)
        if not name:
            continue
        while name in own:
            name = EXPORTED + name
        labels[name] = f"{labels[name]};{value}" if name in labels else value
    return {name: value[:VALUE_LIMIT] for name, value in {**labels, **own}.items() if value}
