"""The resilience score of a chaos run: 0 to 100, and for every point that is missing the finding that cost it. Pure.

score = 100 × the weight of the checks that passed / the weight of all checks that were made. What could not be tried is
no check; it is named beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from atoll.drill.checks import Check


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A check that did not pass, and the points that it cost."""

    points: float
    check: Check


class ChaosReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Wall seconds in `at`, seconds elsewhere."""

    id: str
    at: float
    suite: str
    seconds: float
    score: int
    findings: tuple[Finding, ...]
    """The dearest first."""
    checks: tuple[Check, ...]
    skipped: tuple[str, ...] = ()
    """What could not be tried, and why."""


def score(checks: Sequence[Check]) -> int:
    """0 to 100; 100 when there was nothing to look for."""
    total = sum(one.weight for one in checks)
    return round(100 * sum(one.weight for one in checks if one.passed) / total) if total else 100


def findings(checks: Sequence[Check]) -> tuple[Finding, ...]:
    """What cost points, the dearest first."""
    total = sum(one.weight for one in checks)
    found = [Finding(points=round(100 * one.weight / total, 1), check=one) for one in checks if not one.passed]
    return tuple(sorted(found, key=lambda one: (-one.points, one.check.code, one.check.about)))
