"""`atoll doctor` said of every healthy platform that telemetry does not answer: one count was false, and no number."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from atoll.telemetry import status


@dataclass
class Counts:
    lines: int = 3
    behind: bool = False
    waits: dict[str, bool] = field(default_factory=lambda: {"engine": True})
    warning: str = "no number"


def test_yes_and_no_are_told_as_numbers() -> None:
    told = msgspec.json.encode(status.numbers(Counts()))
    assert msgspec.json.decode(told, type=dict[str, float]) == {"lines": 3, "behind": 0, "waits.engine": 1}
