"""What OTLP carries."""

from __future__ import annotations

from enum import StrEnum


class Signal(StrEnum):
    """One of OTLP's three kinds of data; its requests are counted and committed by themselves."""

    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"
