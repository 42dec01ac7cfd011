"""Traces for tests, written as a tree."""

from __future__ import annotations

from typing import Any

from atoll.telemetry.query.span import Span

MS = 1_000_000
NOON = 1_795_000_000_000 * MS


def span(name: str, begin: float, end: float, parent: str = "", **more: Any) -> Span:
    """A span of the service `name` from `begin` to `end`, in milliseconds; its id is its name."""
    given = {"service": name, "id": name, "name": name, **more}
    return Span(parent=parent, start=NOON + int(begin * MS), duration=int((end - begin) * MS), **given)
