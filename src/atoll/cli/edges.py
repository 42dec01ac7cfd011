"""Who calls whom as circuit breakers see it: a service's own breaker, and each route and call to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from atoll.cli.facts import plain
from atoll.model import effective
from atoll.model.answers import NodeView
from atoll.model.breaker import Breaker, BreakerWord
from atoll.model.names import ServiceName
from atoll.model.policy import Effective
from atoll.model.report import BreakerReport
from atoll.model.service import Protocol, Service
from atoll.model.snapshot import Snapshot

OTHERS = ""
"""The caller of a service's own breaker: everybody of whom nothing else is said."""


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """A callee, and one who calls it."""

    service: ServiceName
    caller: str
    """A service, `route:NAME`, or OTHERS."""
    policy: Breaker
    """What counts."""
    own: bool
    """It has a breaker of its own, or does without; else the service's decides."""
    word: BreakerWord
    """The nearest that holds, else the one that was said last of this edge."""
    holds: bool
    near: bool
    """It was said of this edge."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An edge as one node's gateway has it."""

    edge: Edge
    node: str
    report: BreakerReport

    @property
    def state(self) -> str:
        """`off`, or what the breaker does now; an operator's word is known before the gateway reports it."""
        if self.edge.holds:
            return f"{self.edge.word.state} (forced)"
        return str(self.report.state) if self.edge.policy.enabled else "off"

    def json(self) -> dict[str, Any]:
        """The row for scripts: what is shown, and its sources whole. Wall seconds."""
        edge = self.edge
        return {
            "service": edge.service,
            "caller": edge.caller,
            "node": self.node,
            "state": str(edge.word.state if edge.holds else self.report.state),
            "forced": edge.holds,
            "own": edge.own,
            "policy": plain(edge.policy),
            "word": plain(edge.word),
            "seen": plain(self.report),
        }


def edges(facts: Snapshot, wall: float) -> Iterator[Edge]:
    """Every edge to a service that speaks HTTP, by callee: its own first, then routes and calls by name."""
    for name in sorted(facts.services):
        callee = facts.services[name]
        if callee.protocol is Protocol.TCP:
            continue
        yield _edge(callee, OTHERS, effective.of_service(callee), callee.breaker_word, wall)
        for route in sorted(facts.routes.values(), key=lambda one: one.name):
            if any(share.service == name for share in route.shares):
                found = effective.of_route(route, callee)
                yield _edge(callee, f"route:{route.name}", found, route.breaker_word, wall)
        for caller in sorted(facts.services.values(), key=lambda one: one.name):
            call = caller.calls.get(name)
            if call is not None:
                yield _edge(callee, caller.name, effective.of_call(caller, callee), call.breaker_word, wall)


def rows(found: Iterable[Edge], seen: Iterable[NodeView]) -> list[Row]:
    """A row for each edge and node that told something of breakers; one without a node when none did."""
    told: dict[tuple[str, str, str], BreakerReport] = {
        (node.report.node, each.service, each.caller): each for node in seen for each in node.report.breakers
    }
    where = sorted({node for node, _, _ in told}) or [""]
    return [
        Row(
            edge=edge,
            node=node,
            report=told.get((node, edge.service, edge.caller if edge.own or edge.near else OTHERS))
            or BreakerReport(service=edge.service, caller=edge.caller),
        )
        for edge in found
        for node in where
    ]


def _edge(callee: Service, caller: str, found: Effective, said: BreakerWord, wall: float) -> Edge:
    near = said.holds(wall) is not None
    word = said if near or callee.breaker_word.holds(wall) is None else callee.breaker_word
    return Edge(
        service=callee.name,
        caller=caller,
        policy=found.policy.circuit_breaker or Breaker(),
        own=caller == OTHERS or found.scope("circuit_breaker") not in {"", callee.name},
        word=word,
        holds=word.holds(wall) is not None,
        near=near,
    )
