"""Two traces side by side: what each service and span name took in the one and in the other. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.model.trace import ComparedSpans, SpanSum, SpanView, TraceComparison, TraceRow, TraceView


def compare(first: TraceView, second: TraceView) -> TraceComparison:
    """What changed from `first` to `second`."""
    one, other = _grouped(first.spans), _grouped(second.spans)
    rows = [_compared(key, one.get(key), other.get(key)) for key in dict.fromkeys((*one, *other))]
    rows.sort(key=lambda row: -abs(row.change_ms))
    return TraceComparison(
        first=_row(first),
        second=_row(second),
        change_ms=_ms(second.duration_ms - first.duration_ms),
        spans=tuple(rows),
    )


def _grouped(spans: Sequence[SpanView]) -> dict[tuple[str, str], SpanSum]:
    groups: dict[tuple[str, str], list[SpanView]] = {}
    for span in spans:
        if not span.missing:
            groups.setdefault((span.service, span.name), []).append(span)
    return {key: _summed(group) for key, group in groups.items()}


def _summed(group: Sequence[SpanView]) -> SpanSum:
    return SpanSum(
        count=len(group),
        errors=sum(span.error for span in group),
        duration_ms=_ms(sum(span.duration_ms for span in group)),
        self_ms=_ms(sum(span.self_ms for span in group)),
        critical_ms=_ms(sum(span.critical_ms for span in group)),
    )


def _compared(key: tuple[str, str], first: SpanSum | None, second: SpanSum | None) -> ComparedSpans:
    change = (second.self_ms if second else 0.0) - (first.self_ms if first else 0.0)
    return ComparedSpans(service=key[0], name=key[1], first=first, second=second, change_ms=_ms(change))


def _row(trace: TraceView) -> TraceRow:
    root = next((span for span in trace.spans if span.name == trace.root and span.service == trace.service), None)
    return TraceRow(
        id=trace.id,
        start=trace.start,
        duration_ms=trace.duration_ms,
        root=trace.root,
        service=trace.service,
        http_status=root.http_status if root else 0,
        services=trace.services,
        spans=trace.span_count,
        errors=trace.errors,
    )


def _ms(value: float) -> float:
    return round(value, 3)
