"""What the API answered, made into evidence. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from atoll.cli.numbers import of_iso
from atoll.cli.why.evidence import End, Hop, Part, Said
from atoll.model.answers import Record, Verb
from atoll.model.trace import SpanView, TraceView
from atoll.supervisor.ending import Ending, cause_of
from atoll.telemetry.logs.answers import LogRecord

EDGES = frozenset({"gateway", "mesh"})
SAME = 3.0
"""Seconds within which a note, a record and a report of one instance are about the same end."""
PARTS = 5
_TRACE = re.compile(r"([0-9a-f]{4,32})(?:-[0-9a-f]{16})?", re.IGNORECASE)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ENDED = re.compile(r"ended: (-?\d+|None)")
_CAUSED = re.compile(r"exit \d+|killed by |its keeper was killed")
ASKED = frozenset({0, -15, -2, 143, 130})
"""How a process ends that was told to: by itself, or by SIGTERM or SIGINT."""


def trace_of(said: str) -> str:
    """The trace that `said` names: an id, its beginning, or a request id that the gateway made; empty: it names none."""
    found = _TRACE.fullmatch(said)
    return found[1].lower() if found else ""


def is_request_id(said: str) -> bool:
    """Whether the gateway would have kept it as a client's request id."""
    return _REQUEST_ID.fullmatch(said) is not None


def hops_of(trace: TraceView) -> tuple[Hop, ...]:
    """The requests through gateway and mesh, outer ones first."""
    began = of_iso(trace.start)
    by_id = {(span.id, span.source in EDGES): span for span in trace.spans}
    found = []
    for span in trace.spans:
        if span.source in EDGES:
            above = tuple(one.id for one in _above(span, by_id) if one.source in EDGES)
            found.append(_hop(span, began, above))
    return tuple(sorted(found, key=lambda hop: (len(hop.above), hop.at)))


def _above(span: SpanView, by_id: Mapping[tuple[str, bool], SpanView]) -> list[SpanView]:
    """The spans that this one happened in, outermost first."""
    found: list[SpanView] = []
    parent = span.parent
    while parent and len(found) <= len(by_id):
        above = by_id.get((parent, False)) or by_id.get((parent, True))
        if above is None:
            break
        found.append(above)
        parent = above.parent
    return found[::-1]


def _hop(span: SpanView, began: float, above: tuple[str, ...]) -> Hop:
    said = span.attributes
    return Hop(
        edge=span.source,
        id=span.id,
        above=above,
        at=began + span.at_ms / 1000,
        took_ms=span.duration_ms,
        method=span.method,
        path=said.get("url.path", ""),
        host=said.get("server.address", ""),
        status=span.http_status,
        route=span.route,
        service=said.get("atoll.upstream", ""),
        instance=said.get("atoll.instance", ""),
        termination=said.get("atoll.termination", ""),
        attempts=int(said["atoll.attempts"]) if said.get("atoll.attempts", "").isdecimal() else 1,
        moved=said.get("atoll.redispatched") == "true",
        mark=said.get("atoll.mark", ""),
        fallback=said.get("atoll.fallback", ""),
    )


def parts_of(trace: TraceView) -> tuple[Part, ...]:
    """Who took the time of the critical path, the largest first. What a hop waited for is its service's."""
    with_children = {span.parent for span in trace.spans}
    parts = []
    for span in trace.spans:
        said = span.attributes
        silent = span.source in EDGES and span.id not in with_children
        service = said.get("atoll.upstream", "") if silent else ""
        instance = said.get("atoll.instance", "") if silent else span.instance
        if span.critical_ms > 0:
            parts.append(Part(service=service or span.service, instance=instance, name=span.name, ms=span.critical_ms))
    return tuple(sorted(parts, key=lambda part: -part.ms)[:PARTS])


def said_of(trace: TraceView) -> tuple[Said, ...]:
    """The log lines of the trace, and the exceptions that its spans recorded."""
    began = of_iso(trace.start)
    lines = [
        Said(at=began + one.at_ms / 1000, service=one.service, instance=one.instance, level=one.level, text=one.text)
        for one in trace.logs
    ]
    for span in trace.spans:
        for event in span.events:
            if event.name == "exception":
                kind, text = (event.attributes.get(f"exception.{part}", "") for part in ("type", "message"))
                words = f"{kind}: {text}".strip(": ")
                at = began + event.at_ms / 1000
                lines.append(Said(at=at, service=span.service, instance=span.instance, level="exception", text=words))
    return tuple(sorted(lines, key=lambda one: one.at))


def ends_of(notes: Iterable[LogRecord], records: Iterable[Record]) -> tuple[End, ...]:
    """How instances ended, each end once, though keeper and registry both tell of it."""
    found: list[End] = []
    for note in notes:
        ended = _ENDED.match(note.text) if note.kind == "note" else None
        if ended:
            code = None if ended[1] == "None" else int(ended[1])
            words = cause_of(Ending(code), ())
            found.append(
                End(at=note.nanos / 1e9, service=note.service, instance=note.instance, words=words, asked=code in ASKED)
            )
    for record in records:
        if record.verb in {Verb.DRAINING, Verb.DEREGISTERED} and _CAUSED.match(record.cause):
            _add(found, End(at=record.at, service=record.service, instance=record.instance, words=record.cause))
    return tuple(sorted(found, key=lambda one: one.at))


def _add(found: list[End], end: End) -> None:
    for index, one in enumerate(found):
        if one.instance == end.instance and abs(one.at - end.at) < SAME:
            found[index] = End(
                at=one.at, service=one.service, instance=one.instance, words=end.words
            )  # unasked after all
            return
    found.append(end)
