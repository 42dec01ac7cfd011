"""What receiving counts: every item that came is in exactly one of these numbers, and every refusal has its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from atoll.telemetry.signal import Signal


@dataclass
class Counts:
    """Since the start of the process."""

    requests: Counter[tuple[Signal, str]] = field(default_factory=Counter)
    """By signal and way in: `http/protobuf`, `http/json`, `grpc`."""
    accepted: Counter[Signal] = field(default_factory=Counter)
    """Spans, log records and data points that are committed."""
    rejected: Counter[tuple[Signal, str]] = field(default_factory=Counter)
    """Items that cannot be stored, by reason; their senders were told (partial success)."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests that were answered with an error, by its code."""
    bytes: Counter[Signal] = field(default_factory=Counter)
    """Of bodies as they came over the wire."""
    in_progress: int = 0
