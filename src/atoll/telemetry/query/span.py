"""One span of a trace as the questions see it: what the tree, the clocks and the critical path are worked out from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
"""OTLP's kinds of spans (0 and 1: internal)."""
KINDS = {SERVER: "server", CLIENT: "client", PRODUCER: "producer", CONSUMER: "consumer"}
PROXIES = frozenset({"gateway", "mesh"})
"""Sources of spans that HAProxy's request log was made into."""
LONGEST = 2**53
"""Nanoseconds; a longer span (104 days) has lying clocks and counts as one of no length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened inside a span."""

    at: int
    """Nanoseconds since 1970."""
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Times in nanoseconds since 1970, by the clock of who made it."""

    id: str
    parent: str = ""
    """Empty: none."""
    name: str = ""
    service: str = ""
    instance: str = ""
    source: str = "otlp"
    kind: int = 0
    start: int
    duration: int = 0
    error: bool = False
    message: str = ""
    route: str = ""
    method: str = ""
    http_status: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)
    resource: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """Ids of trace and span."""

    @property
    def clock(self) -> tuple[str, str]:
        """Whose clock its times were read from."""
        return self.service, self.instance

    @property
    def length(self) -> int:
        """The duration, as far as it can be believed."""
        return self.duration if 0 <= self.duration <= LONGEST else 0
