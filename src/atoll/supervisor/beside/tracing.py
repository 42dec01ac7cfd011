"""The OpenTelemetry providers of this process: the SDK's, with tracers that never make a second span of one request.

An app that sets up OpenTelemetry itself wins: from then on everything goes to its provider, ours is silent.

After a fork the SDK's own providers ask for the resource of the new process, with threads, while the child is not yet able
to run any: it hangs (1.45). Ours only renew their locks; the resource is the outbox's.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Tracer
from opentelemetry.util._decorator import _agnosticcontextmanager

from . import wire
from .outbox import Outbox
from .serving import serving


class Ids(IdGenerator):
    """From the system: an app that seeds `random` and a fork repeat none."""

    def generate_span_id(self) -> int:
        """Eight bytes, never all zero."""
        return int.from_bytes(os.urandom(8), "big") or 1

    def generate_trace_id(self) -> int:
        """Sixteen."""
        return int.from_bytes(os.urandom(16), "big") or 1


class ToOutbox(SpanProcessor):
    """Hands over what has ended."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def on_end(self, span: ReadableSpan) -> None:
        """Take it, if it is to be kept."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._outbox.put_span(span)


class OneSpan(Tracer):
    """The SDK's tracer, or the one of the app's own provider; a request's first SERVER span is the one it has already."""

    def __init__(self, own: Tracer, ours: "Provider", arguments: tuple[Any, ...]) -> None:
        self._own = own
        self._ours = ours
        self._arguments = arguments
        self._theirs: tuple[Any, Tracer] | None = None

    def current(self) -> Tracer:
        """Whose turn it is: ours, until the app has set a provider of its own."""
        chosen = trace._TRACER_PROVIDER
        if chosen is self._ours or chosen is None:
            return self._own
        if self._theirs is None or self._theirs[0] is not chosen:
            self._theirs = chosen, chosen.get_tracer(*self._arguments)
        return self._theirs[1]

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """As the SDK does; see the class."""
        one = serving.get()
        if one is not None:
            if one.span is None:
                return INVALID_SPAN
            if kind is SpanKind.SERVER:
                if not one.adopted and one.span.is_recording():
                    one.adopted = True
                    one.span.update_name(name)
                    one.span.set_attributes(dict(attributes or {}))
                    return one.span
            elif not trace.get_current_span(context).get_span_context().is_valid:
                context = trace.set_span_in_context(one.span, context)
        return self.current().start_span(
            name, context, kind, attributes, links or (), start_time, record_exception, set_status_on_exception
        )

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[Span]:
        """The same, current for as long as it is open."""
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(
            span,
            end_on_exit=end_on_exit,
            record_exception=record_exception,
            set_status_on_exception=set_status_on_exception,
        ):
            yield span


class Provider(TracerProvider):
    """The SDK's, with `OneSpan` around its tracers."""

    _door: OneSpan | None = None

    def _handle_fork(self) -> None:
        self._tracers_lock = threading.Lock()

    def start_request(self, name: str, **given: Any) -> Span:
        """A span that is new, whatever else is being answered."""
        if self._door is None:
            self._door = OneSpan(super().get_tracer("atoll"), self, ("atoll",))
        return self._door.current().start_span(name, **given)

    def get_tracer(self, *arguments: Any, **named: Any) -> Tracer:
        """A tracer for a scope."""
        own = super().get_tracer(*arguments, **named)
        names = ("instrumenting_module_name", "instrumenting_library_version", "tracer_provider", "schema_url")
        given = (*arguments, *(named[name] for name in names[len(arguments) : 2] if name in named))
        return OneSpan(own, self, given[:2])


def set_up(outbox: Outbox) -> Provider:
    """Make the providers and let everybody use them who asks for one; the app may still set its own."""
    provider = Provider(resource=Resource({}), shutdown_on_exit=False, id_generator=Ids())
    provider.add_span_processor(ToOutbox(outbox))
    if trace._TRACER_PROVIDER is None:
        trace._TRACER_PROVIDER = provider  # not by set_tracer_provider: that can be called once, and is the app's
    _set_up_metrics(outbox)
    _set_up_lines(outbox)
    return provider


def ids() -> tuple[int, int, int] | None:
    """Trace id, span id and flags of what runs here, or of its request.

    Zeros for none, None for a request that is no news.
    """
    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        one = serving.get()
        if one is None:
            return 0, 0, 0
        if one.span is None:
            return None
        found = one.span.get_span_context()
    return found.trace_id, found.span_id, int(found.trace_flags)


def _set_up_metrics(outbox: Outbox) -> None:
    from opentelemetry.metrics import _internal as metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader

    class Now(MetricReader):
        """Collects when the outbox asks."""

        latest: Any = None

        def _receive_metrics(self, metrics_data: Any, timeout_millis: float = 10_000, **_: Any) -> None:
            self.latest = metrics_data

        def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
            """Nothing is open."""

    class Meters(MeterProvider):
        """The SDK's; see the module."""

        def _handle_fork(self) -> None:
            self._lock = threading.Lock()
            self._meter_lock = threading.Lock()
            MeterProvider._all_metric_readers_lock = threading.Lock()

    if metrics._METER_PROVIDER is not None or os.environ.get("OTEL_METRICS_EXPORTER") == "none":
        return
    reader = Now()
    provider = Meters(metric_readers=[reader], resource=Resource({}), shutdown_on_exit=False)
    metrics._METER_PROVIDER = provider
    metrics._PROXY_METER_PROVIDER.on_set_meter_provider(provider)

    def collect() -> dict[wire.Scope, list[bytes]]:
        reader.collect()
        data, reader.latest = reader.latest, None
        found: dict[wire.Scope, list[bytes]] = {}
        for of_resource in data.resource_metrics if data is not None else ():
            for of_scope in of_resource.scope_metrics:
                bodies = [wire.metric(one) for one in of_scope.metrics]
                found[wire.scope_of(of_scope.scope)] = [body for body in bodies if body]
        return found

    outbox.collect = collect


def _set_up_lines(outbox: Outbox) -> None:
    """For who emits log records through OpenTelemetry's API, as FastAPI does with unhandled exceptions."""
    from opentelemetry._logs import _internal as logs
    from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor

    class Lines(LogRecordProcessor):
        def on_emit(self, log_record: Any) -> None:
            """Take a record."""
            record = log_record.log_record
            trace_id, span_id, flags = record.trace_id or 0, record.span_id or 0, int(record.trace_flags or 0)
            if not trace_id:
                trace_id, span_id, flags = ids() or (0, 0, 0)
            outbox.put_line(
                wire.Line(
                    record.timestamp or record.observed_timestamp or 0,
                    wire.scope_of(log_record.instrumentation_scope),
                    record.body,
                    severity=record.severity_number.value if record.severity_number is not None else 0,
                    severity_text=record.severity_text or "",
                    trace_id=trace_id,
                    span_id=span_id,
                    flags=flags,
                    event=record.event_name or "",
                    attributes=dict(record.attributes or {}),
                )
            )

        def shutdown(self) -> None:
            """Nothing is open."""

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            """Nothing waits here."""
            return True

    class Loggers(LoggerProvider):
        """The SDK's; see the module."""

        def _handle_fork(self) -> None:
            self._logger_cache_lock = threading.Lock()
            self._active_loggers_lock = threading.Lock()

    if logs._LOGGER_PROVIDER is not None or os.environ.get("OTEL_LOGS_EXPORTER") == "none":
        return
    provider = Loggers(resource=Resource({}), shutdown_on_exit=False)
    provider.add_log_record_processor(Lines())
    logs._LOGGER_PROVIDER = provider
