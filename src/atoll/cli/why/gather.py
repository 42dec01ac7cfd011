"""Everything that the control plane can tell of a request, asked for and joined. What cannot be asked is named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar
from urllib.parse import quote

from atoll.cli.facts import V1, nodes, service_path, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import of_iso, took
from atoll.cli.why.answered import GRAVE
from atoll.cli.why.evidence import BEFORE, DURING, Case, End, Hop, Item, Said, Why
from atoll.cli.why.reading import ends_of, hops_of, is_request_id, parts_of, said_of, trace_of
from atoll.cli.why.rules import focus, judge
from atoll.cli.why.words import instead
from atoll.errors import AtollError, BadRequest, InvalidValue, NotFound, TelemetryUnavailable
from atoll.gateway.explain import explain
from atoll.kit.text import scrub
from atoll.model import names
from atoll.model.answers import History, NodeView, Record
from atoll.model.report import ChildReport
from atoll.model.snapshot import Snapshot
from atoll.model.trace import TracePage, TraceView
from atoll.telemetry.logs.answers import LogRecord, Page

T = TypeVar("T")
QUESTION_SECONDS = 20.0
VISIBLE = 3.0
"""Seconds that a trace may take to be there after its end."""
WHOLE = 2.0
"""Seconds after its end in which spans and lines may still be on their way."""
LOOK = 0.5
DAYS = 30
"""How far back a client's request id is looked for."""
LINES = 200
SERVICES = 8
"""Services whose history is asked for."""
SHOWN = 60
"""Pieces of evidence that are shown; those nearest to the request."""


class Gathering:
    """One question after another about one request."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self.missing: list[str] = []

    def why(self, said: str) -> Why:
        """The cause of what became of the request.

        Raises:
            InvalidValue: it is no id.
            NotFound: nobody knows it.
            TelemetryUnavailable: it cannot be asked for.
        """
        trace = self._trace(said)
        began = of_iso(trace.start)
        hops = hops_of(trace)
        services = self._services(hops, trace)
        since, until = began - BEFORE, began + trace.duration_ms / 1000 + DURING
        facts = self._try("the facts", lambda: snapshot(self._invocation.api), Snapshot())
        seen: tuple[NodeView, ...] = ()
        seen = self._try("what the nodes report", lambda: nodes(self._invocation.api), seen)
        children = tuple(one for node in seen for one in node.report.children if one.service in services)
        records = [one for name in services for one in self._history(name, since, until)]
        lines = [one for name in services for one in self._lines(name, since, until)]
        remarks = [
            one for one in self._lines("gateway", since, until) if any(f"{name}/" in one.text for name in services)
        ]
        own = said_of(trace)
        known = {(one.service, one.text) for one in own}
        around = [
            Said(
                at=one.nanos / 1e9,
                service=one.service,
                instance=one.instance,
                level=one.level,
                text=one.text,
                own=False,
            )
            for one in lines
            if one.level.lower() in GRAVE and (one.service, one.text) not in known
        ]
        case = self._routed(
            Case(
                trace=trace.id,
                hops=hops,
                took_ms=trace.duration_ms,
                parts=parts_of(trace),
                said=(*own, *around),
                ends=ends_of(lines, records),
                records=tuple(sorted(records, key=lambda one: one.at)),
                children=children,
                known=frozenset(facts.services),
                breakers=tuple(one for node in seen for one in node.report.breakers if one.service in services),
                words={name: one.breaker_word for name, one in facts.services.items() if name in services},
                stopped=frozenset(
                    name
                    for name, one in facts.services.items()
                    if one.run is not None and (one.run.stopped or not one.run.replicas)
                ),
            ),
            facts,
        )
        first, *others = judge(case)
        return Why(
            id=said,
            trace=trace.id,
            code=first.code,
            origin=first.origin,
            cause=first.cause,
            next=first.next,
            others=tuple(others),
            evidence=tuple(evidence(case, trace, remarks)),
            missing=tuple(dict.fromkeys(self.missing)),
        )

    def _trace(self, said: str) -> TraceView:
        if not is_request_id(said):
            raise InvalidValue(
                f"{scrub(said, limit=60)!r} is neither a trace id nor a request id",
                hint="take x-trace-id or x-request-id of the answer, or `trace_id` of the problem document",
                field="id",
            )
        clock = self._invocation.clock
        deadline = clock.now() + VISIBLE
        while True:
            try:
                found = self._find(said)
                if (
                    clock.wall() - of_iso(found.start) - found.duration_ms / 1000 > VISIBLE / 2
                    or clock.now() >= deadline
                ):
                    return found
            except NotFound:
                if clock.now() >= deadline:
                    raise
            except TelemetryUnavailable as error:
                raise TelemetryUnavailable(
                    f"the request's line, its spans and its log lines are not there: {error.detail}",
                    hint="without telemetry: `atoll ps`, `atoll service history NAME`, `atoll logs NAME`",
                ) from error
            threading.Event().wait(LOOK)

    def _find(self, said: str) -> TraceView:
        trace = trace_of(said)
        if trace:
            try:
                return self._ask(f"{V1}/traces/{quote(trace, safe='')}", TraceView)
            except NotFound:
                pass
        since = max(0.0, self._invocation.clock.wall() - DAYS * 86400)
        query: list[tuple[str, object]] = [("attribute", f"atoll.request.id:{said}"), ("since", since), ("limit", 2)]
        page = self._ask(f"{V1}/traces", TracePage, query)
        if not page.traces:
            raise NotFound(
                f"no request with the trace or request id {scrub(said, limit=130)} is known",
                hint="it is known a second after its end, unless its caller said that the trace is not to be recorded"
                " (traceparent …-00); what is no HTTP at all has no trace",
            )
        if len(page.traces) > 1:
            self.missing.append("several requests came with this id: this is the newest one")
        return self._ask(f"{V1}/traces/{page.traces[0].id}", TraceView)

    def _services(self, hops: Sequence[Hop], trace: TraceView) -> list[str]:
        """The services of the hops, the one of the failed hop first."""
        hop = focus(hops)
        wanted = [hop.service if hop else "", *(one.service for one in reversed(hops)), *trace.services]
        found = [name for name in dict.fromkeys(wanted) if name and name not in {"gateway", "mesh"}]
        if len(found) > SERVICES:
            self.missing.append(f"only {SERVICES} of {len(found)} services were looked at")
        return found[:SERVICES]

    def _history(self, service: str, since: float, until: float) -> tuple[Record, ...]:
        def ask() -> tuple[Record, ...]:
            path = service_path(names.service_name(service), "history")
            found: History = self._ask(path, History, [("since", since), ("until", until), ("limit", 500)])
            return found.records

        try:
            return self._try(f"the history of {service}", ask, ())
        except NotFound:
            return ()

    def _lines(self, service: str, since: float, until: float) -> list[LogRecord]:
        def ask() -> list[LogRecord]:
            query: list[tuple[str, object]] = [("service", service), ("since", max(0.0, since)), ("until", until)]
            rest: list[tuple[str, object]] = [("grep", NOTABLE), ("limit", LINES)]
            page: Page = self._ask(f"{V1}/logs", Page, [*query, *rest])
            return page.records

        return self._try(f"the log lines of {service}", ask, [])

    def _routed(self, case: Case, facts: Snapshot) -> Case:
        """With what the routes, as they are now, say of a request that was refused."""
        import msgspec

        hop = focus(case.hops)
        if hop is None or hop.edge != "gateway" or not hop.refused or not hop.path:
            return case
        try:
            found = explain(facts, hop.method or "GET", hop.path, {"host": hop.host} if hop.host else {})
        except BadRequest as error:
            return msgspec.structs.replace(case, refusal=error.detail)
        near = sorted(found.others, key=lambda one: len(one.reasons))
        said = tuple(f"{one.route}: {'; '.join(one.reasons)}" for one in near[:3] if one.reasons)
        return msgspec.structs.replace(case, routes=said, takes=found.route or "", refusal=found.refusal)

    def _ask(self, path: str, kind: type[T], query: Sequence[tuple[str, object]] = ()) -> T:
        api = self._invocation.api
        return api.get_as(path, kind, query, timeout=max(QUESTION_SECONDS, api.timeout))

    def _try(self, what: str, ask: Callable[[], T], otherwise: T) -> T:
        try:
            return ask()
        except NotFound:
            return otherwise
        except AtollError as error:
            self.missing.append(f"{what}: {error.detail}")
            return otherwise


NOTABLE = r"(?i)^(?:started|ended): |error|exception|fatal|panic|critical|No space left|out of memory|is DOWN|is UP"
"""Lines of the time that may say something; notes of keepers among them."""


def evidence(case: Case, trace: TraceView, remarks: Iterable[LogRecord]) -> list[Item]:
    """All of it in order of time; of more than SHOWN pieces those nearest to the request's end."""
    found = [
        Item(at=one.at, kind="request", service=one.service, instance=one.instance, text=_line(one))
        for one in case.hops
    ]
    began = of_iso(trace.start)
    for span in trace.spans:
        if span.source == "otlp" and (span.error or (span.critical_ms and span.critical_ms >= trace.duration_ms / 4)):
            text = f"{span.name} {took(span.duration_ms)}" + (f", failed: {span.message}" if span.error else "")
            found.append(
                Item(
                    at=began + span.at_ms / 1000,
                    kind="span",
                    service=span.service,
                    instance=span.instance,
                    text=text.rstrip(": "),
                )
            )
    for said in case.said:
        text = f"{said.level} {said.text}".strip()
        found.append(Item(at=said.at, kind="log", service=said.service, instance=said.instance, text=text))
    for record in case.records:
        text = f"{record.verb}" + (f": {record.cause}" if record.cause else "")
        found.append(Item(at=record.at, kind="registry", service=record.service, instance=record.instance, text=text))
    found += [_ended(one) for one in case.ends]
    found += [Item(at=one.nanos / 1e9, kind="gateway", service=one.service, text=one.text) for one in remarks]
    found += [_now(one) for one in case.children if one.cause or one.restarts]
    around = max((hop.end for hop in case.hops), default=began)
    nearest = sorted(found, key=lambda one: abs(one.at - around))[:SHOWN]
    return sorted(nearest, key=lambda one: one.at)


def _line(hop: Hop) -> str:
    whom = hop.instance or (f"{hop.service}, by no instance" if hop.service else "nobody")
    again = f", attempt {hop.attempts}" if hop.attempts > 1 else ""
    ended = f", ended {hop.termination}" if hop.termination else ""
    return f"{hop.edge}: {hop.method} {hop.path} → {hop.status or 'no answer'} of {whom} in {took(hop.took_ms)}{again}{instead(hop)}{ended}"


def _ended(end: End) -> Item:
    return Item(at=end.at, kind="child", service=end.service, instance=end.instance, text=f"ended: {end.words}")


def _now(child: ChildReport) -> Item:
    restarts = f", {child.restarts} restarts" if child.restarts else ""
    text = f"now {child.phase}{restarts}" + (f": {child.cause}" if child.cause else "")
    return Item(at=child.started, kind="child", service=child.service, instance=child.instance, text=text)
