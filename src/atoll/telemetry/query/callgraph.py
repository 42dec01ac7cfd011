"""Calls counted in two ways, put together into one map. Pure.

The request log counts everything that passed gateway and mesh, but knows the caller only when it said so; spans know who
called, of instrumented services. Where both know an edge, the request log's count stands, with the errors that only
spans know of (gRPC tells them in a trailer, which HAProxy cannot read). What the log counted without
a caller is taken for the calls that the spans tell of; only the rest has an unknown caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from atoll.model.traffic import Figures, MapEdge, MapNode, ServiceMap
from atoll.telemetry.query.window import Window

GATEWAY = "gateway"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Call:
    """Counted calls of one service by another."""

    caller: str
    """Empty: it is not known."""
    callee: str
    figures: Figures
    kind: str = "service"
    """Of the callee."""


def put_together(
    window: Window, logged: Iterable[Call], traced: Iterable[Call], peers: Iterable[Call], asked: Mapping[str, Figures]
) -> ServiceMap:
    """The map. `peers` are calls of what sends no spans itself (databases); `asked` are the figures of each service."""
    edges: dict[tuple[str, str], tuple[str, Figures]] = {}
    unknown: dict[str, Figures] = {}
    for call in logged:
        if call.caller:
            edges[call.caller, call.callee] = "requests", call.figures
        else:
            unknown[call.callee] = call.figures
    explained: dict[str, int] = {}
    for call in traced:
        if found := edges.get((call.caller, call.callee)):
            edges[call.caller, call.callee] = found[0], _failing(found[1], call.figures.errors)
        else:
            edges[call.caller, call.callee] = "spans", call.figures
            if call.caller != GATEWAY:
                explained[call.callee] = explained.get(call.callee, 0) + call.figures.requests
    for callee, figures in unknown.items():
        left = figures.requests - explained.get(callee, 0)
        if left > 0:
            edges[UNKNOWN, callee] = "requests", _shrunk(figures, left)
    kinds = {GATEWAY: "gateway", UNKNOWN: "unknown"}
    into: dict[str, int] = {}
    for (_, callee), (_, figures) in edges.items():
        into[callee] = into.get(callee, 0) + figures.errors
    nodes = {name: _failing(figures, into.get(name, 0)) for name, figures in asked.items()}
    for call in peers:
        if call.callee not in asked:
            edges[call.caller, call.callee] = "spans", call.figures
            kinds[call.callee] = call.kind
            nodes[call.callee] = _added(nodes.get(call.callee), call.figures)
    for caller, callee in edges:
        for name in (caller, callee):
            nodes.setdefault(name, Figures())
    return ServiceMap(
        **window.words(),
        nodes=tuple(
            MapNode(name=name, kind=kinds.get(name, "service"), figures=figures)
            for name, figures in sorted(nodes.items())
        ),
        edges=tuple(
            MapEdge(caller=caller, callee=callee, source=source, figures=figures)
            for (caller, callee), (source, figures) in sorted(edges.items())
        ),
    )


def _failing(figures: Figures, errors: int) -> Figures:
    """With at least so many errors: spans know of those that a gRPC service tells after its answer began."""
    errors = min(errors, figures.requests)
    if errors <= figures.errors:
        return figures
    return msgspec.structs.replace(figures, errors=errors, error_share=round(errors / figures.requests, 6))


def _shrunk(figures: Figures, requests: int) -> Figures:
    """The same kind of requests, fewer of them."""
    part = requests / figures.requests
    values = {name: getattr(figures, name) for name in Figures.__struct_fields__}
    return Figures(
        **{
            **values,
            "requests": requests,
            "errors": round(figures.errors * part),
            "fallbacks": round(figures.fallbacks * part),
            "rps": round(figures.rps * part, 4),
        }
    )


def _added(one: Figures | None, other: Figures) -> Figures:
    """Both together; percentiles as the worse of the two, for they cannot be added."""
    if one is None:
        return other
    requests, errors = one.requests + other.requests, one.errors + other.errors
    mean = (one.mean_ms * one.requests + other.mean_ms * other.requests) / requests if requests else 0.0
    return Figures(
        requests=requests,
        errors=errors,
        fallbacks=one.fallbacks + other.fallbacks,
        rps=round(one.rps + other.rps, 4),
        error_share=round(errors / requests, 6) if requests else 0.0,
        mean_ms=round(mean, 3),
        p50_ms=max(one.p50_ms, other.p50_ms),
        p95_ms=max(one.p95_ms, other.p95_ms),
        p99_ms=max(one.p99_ms, other.p99_ms),
    )
