"""Rates, errors and durations (RED) as the API shows them: of services, routes, instances and edges, and as a map.

Moments are ISO 8601 in UTC, `…_ms` milliseconds; `errors` counts requests that failed (5xx, broken off, or a span whose
status is an error). `source` says what was counted: `requests` (everything that went through gateway and mesh) or
`spans` (what instrumented services sent, for traffic that did not).
"""

from __future__ import annotations

import msgspec


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """RED of a stretch of time. Durations are 0 when nothing was counted."""

    requests: int = 0
    errors: int = 0
    fallbacks: int = 0
    """Requests that were answered in place of a service that failed."""
    rps: float = 0.0
    """Requests a second."""
    error_share: float = 0.0
    """0 to 1."""
    mean_ms: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0


class Point(Figures, frozen=True, kw_only=True):
    """RED of one step, which begins at `time`."""

    time: str


class RedSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One service, route, instance or edge: its figures over all the time, and in steps. What it is not of is empty."""

    service: str
    route: str = ""
    instance: str = ""
    caller: str = ""
    """Of an edge: who called; `gateway` for requests from outside."""
    source: str
    total: Figures
    points: tuple[Point, ...] = ()


class Red(msgspec.Struct, frozen=True, kw_only=True):
    """RED figures, those with the most requests first."""

    since: str
    until: str
    step: float
    """Seconds of a point."""
    series: tuple[RedSeries, ...] = ()
    cut: int = 0
    """Series that are not shown."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that took longer than `above_ms` and at most `upto_ms` (null: no end), and traces of the latest."""

    above_ms: float
    upto_ms: float | None
    requests: int
    errors: int
    traces: tuple[str, ...] = ()


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long the requests of a service took, with exemplars."""

    service: str
    route: str = ""
    since: str
    until: str
    buckets: tuple[Bucket, ...] = ()


class MapNode(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who calls or is called."""

    name: str
    kind: str
    """`service`, `gateway`, `database`, `messaging`, `external` (only its callers know it), `unknown` (who called did not say)."""
    figures: Figures
    """Of what it was asked."""


class MapEdge(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls whom; gateway and mesh between two services are passed through."""

    caller: str
    callee: str
    source: str
    figures: Figures


class ServiceMap(msgspec.Struct, frozen=True, kw_only=True):
    """The traffic of a stretch of time."""

    since: str
    until: str
    nodes: tuple[MapNode, ...] = ()
    edges: tuple[MapEdge, ...] = ()
