"""Traces as the API answers them, for tests of what is drawn."""

from __future__ import annotations

from typing import Any

from atoll.model.trace import EventView, SpanView, TraceLog, TraceRow, TraceView

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
EVIL = "\x1b[2J\u202eevil\n%s"


def span(called: str, depth: int, at: float, took: float, **more: Any) -> SpanView:
    given: dict[str, Any] = {"service": called, "id": called, "name": f"GET /{called}", "critical_ms": took, **more}
    return SpanView(depth=depth, at_ms=at, duration_ms=took, **given)


def order() -> TraceView:
    """A failed order: gateway → web → orders, a retry, a clock that is off, an exception, log lines."""
    return TraceView(
        id=TRACE,
        start="2026-11-21T14:02:11.100000Z",
        duration_ms=200.0,
        root="POST /orders",
        service="gateway",
        services=("gateway", "web", "orders"),
        span_count=5,
        errors=1,
        spans=(
            span(
                "gateway", 0, 0, 200, http_status=502, attributes={"atoll.attempts": "3", "atoll.redispatched": "true"}
            ),
            span("web", 1, 5, 190, attributes={"user.id": "u-7"}),
            SpanView(id="gone", depth=1, at_ms=20, duration_ms=100, missing=True),
            span("orders", 2, 20, 100, error=True, message="card was declined", shift_ms=-300_000.0),
            span(
                "cache",
                2,
                150,
                10,
                critical_ms=0,
                events=(
                    EventView(at_ms=151, name="exception", attributes={"exception.type": "KeyError"}),
                    EventView(at_ms=152, name="evicted"),
                ),
            ),
        ),
        logs=(
            TraceLog(
                at_ms=30, time="", level="error", service="orders", span="orders", text="boom\n  at line 3\n  at 4"
            ),
            TraceLog(at_ms=40, time="", level="info", service="web", text="of no span"),
        ),
    )


def hostile() -> TraceView:
    """Every text is an attack on the terminal."""
    return TraceView(
        id=EVIL,
        start=EVIL,
        duration_ms=1.0,
        root=EVIL,
        service=EVIL,
        services=(EVIL,),
        span_count=2,
        errors=1,
        spans=(
            SpanView(id=EVIL, depth=0, at_ms=0, duration_ms=1, missing=True),
            span(
                "x",
                99_999,
                0.5,
                0.5,
                service=EVIL,
                name=EVIL * 500,
                error=True,
                message=EVIL,
                instance=EVIL,
                attributes={EVIL: EVIL, "atoll.attempts": "2" * 50, "atoll.mark": EVIL, "atoll.queue_ms": "9" * 400},
                events=(EventView(at_ms=0, name=EVIL, attributes={EVIL: EVIL}), EventView(at_ms=0, name="exception")),
            ),
        ),
        logs=(
            TraceLog(at_ms=0.0, time="", level=EVIL, service=EVIL, span="x", text=EVIL + "\r\x07"),
            TraceLog(at_ms=0.0, time="", level="warn", service=EVIL, span="elsewhere", text=EVIL),
        ),
        cut=3,
        logs_cut=True,
    )


def row(trace: str = TRACE, **more: Any) -> TraceRow:
    given: dict[str, Any] = {"spans": 5, "errors": 1, "services": ("gateway", "orders"), **more}
    return TraceRow(
        id=trace,
        start="2026-11-21T14:02:11.100000Z",
        duration_ms=182.4,
        root="POST /orders",
        service="gateway",
        http_status=502,
        **given,
    )
