"""What is known of one request, as values: what the rules read, and what they say. Times are wall seconds."""

from __future__ import annotations

import msgspec

from atoll.model.answers import Record
from atoll.model.breaker import BreakerWord
from atoll.model.report import BreakerReport, ChildReport

BEFORE = 120.0
"""Seconds before a request in which ends of instances count as the reason that nobody was there."""
DURING = 2.0
"""Seconds around a hop in which an instance's end belongs to it: notes are stamped by another clock read."""


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """The request on its way through gateway or mesh: one line of the request log."""

    edge: str
    """`gateway` or `mesh`."""
    id: str
    above: tuple[str, ...] = ()
    """Ids of the hops that it happened in, outermost first."""
    at: float
    """When it began."""
    took_ms: float
    method: str = ""
    path: str = ""
    host: str = ""
    status: int = 0
    route: str = ""
    service: str = ""
    """That it was for; empty: none was found."""
    instance: str = ""
    """That it was sent to last; empty: to none."""
    termination: str = ""
    """HAProxy's two letters; empty: it ended as usual."""
    attempts: int = 1
    moved: bool = False
    """Another instance got the last attempt."""
    mark: str = ""
    """What a policy did with it: `open`, `forced`, `probe`, `failover` …; empty: nothing."""
    fallback: str = ""
    """What was given in the service's place; empty: nothing."""

    @property
    def end(self) -> float:
        """When it was over."""
        return self.at + self.took_ms / 1000

    @property
    def refused(self) -> bool:
        """The gateway or mesh answered by itself, before any instance was looked for."""
        return self.termination[:1] in {"L", "P"} and not self.instance and self.termination != "PH"

    @property
    def left(self) -> bool:
        """The caller did not wait for the answer."""
        return self.termination[:1] in {"C", "c"} and self.termination not in {"cR", "CR"}

    @property
    def broken(self) -> bool:
        """It failed on this side of the caller: a 5xx, or an answer that broke off."""
        return self.status >= 500 or self.termination[:1] in {"S", "s", "I", "R", "D", "K", "U"}


class End(msgspec.Struct, frozen=True, kw_only=True):
    """One end of one instance's process."""

    at: float
    service: str
    instance: str
    words: str
    """`exit 3`, `killed by SIGKILL`."""
    asked: bool = False
    """It ended as one does that was told to."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A share of the time that the request took."""

    service: str
    instance: str = ""
    name: str
    ms: float
    """On the critical path."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A log line of the request, or an exception that a span recorded."""

    at: float
    service: str
    instance: str = ""
    level: str = ""
    text: str
    own: bool = True
    """Of this request; else only of the same time."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a request."""

    trace: str
    hops: tuple[Hop, ...] = ()
    """Outer ones first, then in order of time."""
    took_ms: float = 0.0
    parts: tuple[Part, ...] = ()
    """The largest first."""
    said: tuple[Said, ...] = ()
    ends: tuple[End, ...] = ()
    """In order of time."""
    records: tuple[Record, ...] = ()
    """The registry's history of the services, around the time."""
    children: tuple[ChildReport, ...] = ()
    """As they are now."""
    known: frozenset[str] = frozenset()
    """Services that are registered now."""
    stopped: frozenset[str] = frozenset()
    """… of these, those that somebody stopped or scaled to nothing."""
    routes: tuple[str, ...] = ()
    """Why routes, as they are now, do not take the request: the nearest first."""
    takes: str = ""
    """The route that takes it now."""
    refusal: str = ""
    """What is wrong with its host or path."""
    breakers: tuple[BreakerReport, ...] = ()
    """As they are now."""
    words: dict[str, BreakerWord] = {}
    """What operators said of breakers, by service."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A cause that fits. The one with the most weight is named first."""

    code: str
    weight: int
    """0 to 100."""
    origin: str
    cause: str
    """One sentence in plain words."""
    next: tuple[str, ...] = ()
    """What to do."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence."""

    at: float
    kind: str
    """request, span, log, registry, child or gateway."""
    service: str = ""
    instance: str = ""
    text: str


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    id: str
    """As it was asked for."""
    trace: str
    code: str
    origin: str
    cause: str
    next: tuple[str, ...] = ()
    others: tuple[Verdict, ...] = ()
    """Causes that fit less."""
    evidence: tuple[Item, ...] = ()
    missing: tuple[str, ...] = ()
    """What could not be asked, or is not there."""
