"""A trace laid out: spans in order with depth, corrected bars, self time, critical path; its log records beside. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from atoll.model.trace import EventView, LinkView, SpanView, TraceLog, TraceView
from atoll.telemetry.query.critical import critical_path, self_times
from atoll.telemetry.query.skew import shifts, worth_a_word
from atoll.telemetry.query.span import KINDS, PROXIES, Span
from atoll.telemetry.query.tree import Tree, make_tree

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One log record of a trace; `at` in nanoseconds since 1970 by the clock of its instance."""

    at: int
    level: str = ""
    service: str = ""
    instance: str = ""
    span: str = ""
    text: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def iso(nanoseconds: int) -> str:
    """A moment as text, to the microsecond."""
    moment = EPOCH + timedelta(microseconds=nanoseconds // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def ms(nanoseconds: int) -> float:
    """Milliseconds, to the microsecond."""
    return round(nanoseconds / 1e6, 3)


def lay_out(
    trace: str, spans: Sequence[Span], records: Sequence[Record] = (), *, count: int = 0, more_records: bool = False
) -> TraceView:
    """The view of a trace of at least one span. `count` is how many spans there are, when not all are given."""
    tree = make_tree(spans)
    moved = shifts(tree)
    starts = [span.start + shift for span, shift in zip(tree.spans, moved, strict=True)]
    zero = min(starts)
    end = max(start + span.length for start, span in zip(starts, tree.spans, strict=True))
    main = _main(tree, starts)
    resources: dict[tuple[tuple[str, str], ...], int] = {}
    layout = _Layout(tree, moved, starts, zero, critical_path(tree, starts, main), self_times(tree, starts), resources)
    first = tree.spans[main]
    return TraceView(
        id=trace,
        start=iso(zero),
        duration_ms=ms(end - zero),
        root=first.name,
        service=first.service,
        services=tuple(dict.fromkeys(name for index, _ in tree.walk() for name in _services(tree.spans[index]))),
        span_count=max(count, len(spans)) - tree.doubles,
        cut=max(0, count - len(spans)),
        errors=sum(span.error for span in tree.spans),
        doubles=tree.doubles,
        spans=tuple(layout.views()),
        resources=tuple(dict(pairs) for pairs in resources),
        logs=tuple(_logs(records, tree, moved, zero)),
        logs_cut=more_records,
    )


def _services(span: Span) -> tuple[str, ...]:
    """Whose work a span is; one of the mesh tells of whom it called, who may send no spans."""
    if span.source not in PROXIES:
        return (span.service,)
    called = tuple(filter(None, (span.attributes.get("atoll.upstream"),)))
    return called if span.source == "mesh" else (span.service, *called)


def _main(tree: Tree, starts: Sequence[int]) -> int:
    """The root that stands for the trace: one without any parent before one whose parent is missing, then the longest."""
    lost = {index for group in tree.orphans.values() for index in group}
    return min(tree.roots, key=lambda index: (index in lost, -tree.spans[index].length, starts[index]))


class _Layout:
    """What is known of each span by its index, turned into views."""

    def __init__(
        self,
        tree: Tree,
        moved: Sequence[int],
        starts: Sequence[int],
        zero: int,
        critical: Sequence[int],
        own: Sequence[int],
        resources: dict[tuple[tuple[str, str], ...], int],
    ) -> None:
        self._tree = tree
        self._moved = moved
        self._starts = starts
        self._zero = zero
        self._critical = critical
        self._own = own
        self._resources = resources

    def views(self) -> Iterator[SpanView]:
        """All spans in their order; a parent that was not received stands above its children, unless it would stand
        above everything (then the trace began elsewhere).
        """
        tree = self._tree
        lost = {index: parent for parent, group in tree.orphans.items() for index in group}
        told: set[str] = set()
        for root in tree.roots:
            parent = lost.get(root)
            if parent is None or len(tree.roots) == 1:
                yield from self._below([root], 0)
            elif parent not in told:
                told.add(parent)
                yield self._absent(parent, tree.orphans[parent])
                yield from self._below(tree.orphans[parent], 1)

    def _below(self, tops: Sequence[int], depth: int) -> Iterator[SpanView]:
        for index, below in self._tree.walk(tops):
            yield self._view(index, depth + below)

    def _absent(self, parent: str, children: Sequence[int]) -> SpanView:
        begin = min(self._starts[index] for index in children)
        end = max(self._starts[index] + self._tree.spans[index].length for index in children)
        return SpanView(id=parent, depth=0, at_ms=ms(begin - self._zero), duration_ms=ms(end - begin), missing=True)

    def _view(self, index: int, depth: int) -> SpanView:
        span, shift = self._tree.spans[index], self._moved[index]
        resource = tuple(sorted(span.resource.items()))
        return SpanView(
            id=span.id,
            parent=span.parent if span.parent.strip("0") else "",
            depth=depth,
            name=span.name,
            service=span.service,
            instance=span.instance,
            source=span.source,
            kind=KINDS.get(span.kind, "internal"),
            at_ms=ms(self._starts[index] - self._zero),
            duration_ms=ms(span.length),
            self_ms=ms(self._own[index]),
            critical_ms=ms(self._critical[index]),
            error=span.error,
            message=span.message,
            route=span.route,
            method=span.method,
            http_status=span.http_status,
            shift_ms=ms(worth_a_word(span, shift)),
            attributes=dict(span.attributes),
            resource=self._resources.setdefault(resource, len(self._resources)) if resource else None,
            events=tuple(
                EventView(
                    at_ms=ms(max(0, event.at + shift - self._zero)),
                    name=event.name,
                    attributes=dict(event.attributes),
                )
                for event in span.events
            ),
            links=tuple(LinkView(trace=trace, span=other) for trace, other in span.links),
        )


def _logs(records: Sequence[Record], tree: Tree, moved: Sequence[int], zero: int) -> Iterator[TraceLog]:
    """The records by corrected time: each by the clock of its span, or of its instance."""
    by_span = {span.id: shift for span, shift in zip(tree.spans, moved, strict=True)}
    by_clock: dict[tuple[str, str], int] = {}
    for span, shift in zip(tree.spans, moved, strict=True):
        by_clock.setdefault(span.clock, shift)
    timed = [
        (one.at + by_span.get(one.span, by_clock.get((one.service, one.instance), 0)), number, one)
        for number, one in enumerate(records)
    ]
    for at, _, record in sorted(timed):
        yield TraceLog(
            at_ms=ms(max(0, at - zero)),
            time=iso(record.at),
            level=record.level,
            service=record.service,
            instance=record.instance,
            span=record.span,
            text=record.text,
            attributes=dict(record.attributes),
        )
