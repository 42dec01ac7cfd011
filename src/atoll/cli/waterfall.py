"""One trace drawn for a terminal: a line a span with its bar, below it what went wrong, and its log lines. Pure.

Heavy bars are on the critical path. Every text that came from outside is scrubbed; lines are as wide as they may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atoll.cli.numbers import of_iso, to_the_millisecond, took
from atoll.cli.show import columns_of, cut
from atoll.cli.tint import service_tint, tint
from atoll.kit.text import scrub
from atoll.model.trace import EventView, SpanView, TraceLog, TraceView

PLAIN_WIDTH = 120
"""Columns when nobody says how many there are (a pipe): labels are not cut then, bars have this room."""
DEEPEST = 16
"""Levels that are indented; what is deeper says its depth."""
LOG_LINES = 1
"""Lines of a log record that are shown without -v."""
WIDE_LOG_LINES = 200
LEVELS = {"error": "red", "fatal": "red", "critical": "red", "warn": "yellow", "warning": "yellow", "debug": "dim"}
LONG_QUEUE = 10
"""Milliseconds in the gateway's queue that are worth a word."""
LEVEL_LIMIT = 8
MEAGER = 12
"""Columns that every text gets, however narrow the terminal."""
SHARE = 0.5
"""Of the width, that labels take at most."""


@dataclass(frozen=True)
class Glyphs:
    """What bars and marks are made of."""

    heavy: str = "█"
    light: str = "░"
    error: str = "✗"
    retry: str = "↻"
    clock: str = "◷"
    missing: str = "?"


ASCII = Glyphs("#", "-", "x", "~", "@", "?")


def glyphs(encoding: str | None) -> Glyphs:
    """Those that the stream can write."""
    found = Glyphs()
    try:
        "".join(vars(found).values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return found


class Drawing:
    """Draws one trace; `width` None: into a pipe."""

    def __init__(
        self,
        trace: TraceView,
        *,
        width: int | None = None,
        color: bool = False,
        verbose: bool = False,
        made_of: Glyphs | None = None,
    ) -> None:
        self._trace = trace
        self._width = width
        self._color = color
        self._verbose = verbose
        self._glyphs = made_of or Glyphs()
        self._began = of_iso(trace.start)
        self._deepest = DEEPEST if width is None else max(1, min(DEEPEST, width // 10))
        longest = max((columns_of(self._label(span)) for span in trace.spans), default=0)
        room = width or PLAIN_WIDTH
        self._label_width = longest if width is None else min(longest, max(20, int(room * SHARE)))
        self._bar = max(10, room - self._label_width - 12)

    def lines(self) -> Iterator[str]:
        """The picture."""
        trace = self._trace
        yield from self._head()
        records: dict[str, list[TraceLog]] = {}
        for record in trace.logs:
            records.setdefault(record.span, []).append(record)
        for span in trace.spans:
            yield self._row(span)
            if not span.missing:
                yield from self._below(span, records.pop(span.id, []))
        if records:
            yield ""
            yield tint("log lines of no span that is shown:", "dim", on=self._color)
            for record in sorted((one for group in records.values() for one in group), key=lambda one: one.at_ms):
                yield from self._record(record, "  ", whose=True)
        if trace.logs_cut:
            yield tint("there are more log lines: atoll logs --trace " + scrub(trace.id), "dim", on=self._color)
        if trace.cut:
            yield tint(f"{trace.cut} more spans are not shown", "yellow", on=self._color)

    def _head(self) -> Iterator[str]:
        trace = self._trace
        names = [service_tint(scrub(name, limit=64), name, on=self._color) for name in trace.services]
        failed = f"{trace.errors} failed" if trace.errors else ""
        facts = [
            to_the_millisecond(self._began),
            took(trace.duration_ms),
            f"{trace.span_count} span{'' if trace.span_count == 1 else 's'}",
        ]
        yield tint(f"trace {scrub(trace.id)}", "bold", on=self._color)
        yield "  ".join([*facts, *([tint(failed, "red", on=self._color)] if failed else [])])
        yield ", ".join(names)
        yield ""

    def _row(self, span: SpanView) -> str:
        label = cut(self._label(span), self._label_width)
        padding = " " * (self._label_width - columns_of(label))
        if span.error:
            painted = tint(label, "red", on=self._color)
        elif span.missing:
            painted = tint(label, "dim", on=self._color)
        else:
            painted = service_tint(label, span.service, on=self._color)
        return f"{painted}{padding} {took(span.duration_ms):>9}  {self._drawn(span)}".rstrip()

    def _label(self, span: SpanView) -> str:
        indent = "  " * min(span.depth, self._deepest) + (f"({span.depth}) " if span.depth > self._deepest else "")
        if span.missing:
            return f"{indent}{self._glyphs.missing} span {scrub(span.id, limit=16)} was not received"
        mark = f"{self._glyphs.error} " if span.error else ""
        status = f" {span.http_status}" if span.http_status else ""
        by = span.attributes.get("atoll.instance") if span.source != "otlp" else None
        answered = f" by {scrub(by, limit=64)}" if by else ""
        return f"{indent}{mark}{scrub(span.service, limit=64)} {scrub(span.name, limit=200)}{status}{answered}"

    def _drawn(self, span: SpanView) -> str:
        whole = self._trace.duration_ms or 1.0
        begin = min(self._bar - 1, int(span.at_ms / whole * self._bar))
        length = max(1, min(self._bar - begin, round(span.duration_ms / whole * self._bar)))
        glyph = self._glyphs.heavy if span.critical_ms > 0 else self._glyphs.light
        bar = glyph * length
        if span.error:
            return " " * begin + tint(bar, "red", on=self._color)
        return " " * begin + service_tint(bar, span.service, on=self._color and not span.missing)

    def _below(self, span: SpanView, records: list[TraceLog]) -> Iterator[str]:
        """What there is to say of a span, under it."""
        pad = "  " * (min(span.depth, self._deepest) + 2)
        if span.error and span.message:
            yield self._fit(pad, f"{self._glyphs.error} {scrub(span.message, limit=500)}", "red")
        for text in notes(span):
            yield self._fit(pad, f"{self._glyphs.retry} {text}", "yellow")
        if span.shift_ms:
            ahead = "behind" if span.shift_ms > 0 else "ahead"
            text = f"{self._glyphs.clock} its clock is {took(abs(span.shift_ms))} {ahead}; corrected here"
            yield self._fit(pad, text, "yellow")
        if self._verbose:
            yield from self._attributes(span, pad)
        told = [one for one in span.events if self._verbose or one.name == "exception"]
        both: list[EventView | TraceLog] = [*told, *records]
        for one in sorted(both, key=lambda item: item.at_ms):
            if isinstance(one, TraceLog):
                yield from self._record(one, pad)
            else:
                yield self._event(one, pad)

    def _attributes(self, span: SpanView, pad: str) -> Iterator[str]:
        given = dict(span.attributes)
        if span.instance:
            given["service.instance.id"] = span.instance
        given["self time"] = took(span.self_ms)
        if span.critical_ms:
            given["on the critical path"] = took(span.critical_ms)
        for name, value in sorted(given.items()):
            yield self._fit(pad, f"{scrub(name, limit=100)} = {scrub(value, limit=1000)}", "dim")

    def _event(self, event: EventView, pad: str) -> str:
        told = event.attributes
        if event.name == "exception":
            text = ": ".join(filter(None, (told.get("exception.type", "exception"), told.get("exception.message"))))
            return self._fit(pad, f"{self._at(event.at_ms)} {scrub(text, limit=500)}", "red")
        pairs = "  ".join(f"{name}={value}" for name, value in sorted(told.items()))
        return self._fit(pad, f"{self._at(event.at_ms)} {scrub(f'{event.name}  {pairs}', limit=1000)}", "cyan")

    def _record(self, record: TraceLog, pad: str, *, whose: bool = False) -> Iterator[str]:
        first, *rest = record.text.split("\n")
        level = cut(scrub(record.level), LEVEL_LIMIT)
        stamp = self._at(record.at_ms)
        kept = rest[: (WIDE_LOG_LINES if self._verbose else LOG_LINES) - 1]
        tail = f" (+{len(rest) - len(kept)} lines)" if len(rest) > len(kept) else ""
        room = self._room(f"{pad}{stamp} {level:<5} {tail}")
        text = (f"{scrub(record.service, limit=64)}: " if whose else "") + scrub(first)
        painted = tint(f"{level:<5}", LEVELS.get(level, "green"), on=self._color)
        yield f"{pad}{tint(stamp, 'dim', on=self._color)} {painted} {text if room is None else cut(text, room)}{tail}"
        for line in kept:
            yield f"{pad}{'':19}{scrub(line)}"

    def _at(self, at_ms: float) -> str:
        return to_the_millisecond(self._began + at_ms / 1000)[11:]

    def _fit(self, pad: str, text: str, color: str) -> str:
        room = self._room(pad)
        return pad + tint(text if room is None else cut(text, room), color, on=self._color)

    def _room(self, before: str) -> int | None:
        """Columns that are left on a line after `before`; None: nothing is cut."""
        return None if self._width is None or self._verbose else max(MEAGER, self._width - columns_of(before))


def notes(span: SpanView) -> Iterator[str]:
    """What gateway and mesh did for this request: attempts, another instance, breaker, fallback; scrubbed."""
    told = span.attributes
    attempts = told.get("atoll.attempts", "")
    if not attempts and (resent := told.get("http.request.resend_count", "")).isdigit():
        attempts = str(int(resent[:9]) + 1)
    if attempts.isdigit() and int(attempts[:9]) > 1:
        moved = ", the last by another instance" if told.get("atoll.redispatched") == "true" else ""
        yield f"{attempts[:9]} attempts{moved}"
    failure = told.get("atoll.failure", "")
    if given := told.get("atoll.fallback"):
        yield scrub(f"fallback: {given}" + (f" ({failure})" if failure else ""), limit=100)
    elif failure:
        yield scrub(f"failed: {failure}", limit=100)
    if mark := told.get("atoll.mark"):
        yield scrub(mark, limit=100)
    queued = told.get("atoll.queue_ms", "")
    if queued.isdigit() and int(queued[:9]) >= LONG_QUEUE:
        yield f"waited {took(float(queued[:9]))} for an instance with room"
