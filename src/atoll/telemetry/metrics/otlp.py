"""OTLP metrics taken in: decoded, named as Prometheus names them, made cumulative, committed before the answer.

Promises: accepted + rejected = sent, each rejection with a reason; one bad point costs nobody else anything; a body is
answered when its samples are in the engine. Differences (delta) are added up here, so a series of ours only grows.
Refuses a body that is no protobuf as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from atoll.errors import BadRequest
from atoll.telemetry.metrics.attributes import ATTRIBUTES_LIMIT, Resource, pairs_of, resource_of
from atoll.telemetry.metrics.book import Book, Members, Shape
from atoll.telemetry.metrics.entry import Entry
from atoll.telemetry.metrics.intake import Intake
from atoll.telemetry.metrics.kinds import Reading, reading_of
from atoll.telemetry.metrics.names import Kind, metric_name, translated, unit_word
from atoll.telemetry.metrics.points import Points, Reason, Refused
from atoll.telemetry.metrics.rows import About

HELP_LIMIT = 500
"""Characters of a metric's description."""
DAY = 86_400_000


@dataclass(frozen=True)
class Rejected:
    """Points of one body that were not taken, for `partial_success`."""

    points: int = 0
    accepted: int = 0
    """Points that were."""
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """For the sender; empty when everything was taken."""
        return ", ".join(f"{count} {reason}" for reason, count in sorted(self.reasons.items()))


class Sink:
    """The way in for OTLP metrics."""

    def __init__(self, intake: Intake, *, days: float) -> None:
        self._intake = intake
        self._days = days
        self.accepted = 0
        """Points taken and committed."""
        self.rejected = 0

    async def write(self, body: bytes) -> Rejected:
        """Take an ExportMetricsServiceRequest; returns when it is committed.

        Raises:
            BadRequest: not such a message.
            Overloaded, StorageFull: as `Intake.take`; nothing was kept.
        """
        accepted, reasons = await self._intake.take(lambda book: Body(book, oldest=self._days * DAY).take(body))
        self.accepted += accepted
        for reason, points in reasons.items():
            self.rejected += points
            self._intake.refuse(reason, points)
        return Rejected(sum(reasons.values()), accepted, reasons)


class Body:
    """One body on its way in."""

    def __init__(self, book: Book, *, oldest: float) -> None:
        self._book = book
        self._points = Points(book, oldest=book.now - int(oldest))
        self._reasons: Counter[str] = Counter()
        self._accepted = 0

    def take(self, body: bytes) -> tuple[int, dict[str, int]]:
        """The number of points taken, and of those that were not, by reason.

        Raises:
            BadRequest: not an ExportMetricsServiceRequest.
        """
        try:
            request = ExportMetricsServiceRequest.FromString(body)
        except (DecodeError, UnicodeDecodeError):
            raise BadRequest(
                "the body is no ExportMetricsServiceRequest", hint="send OTLP metrics as protobuf"
            ) from None
        for group in request.resource_metrics:
            resource = resource_of(group.resource)
            newest = 0
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    newest = max(newest, self._metric(metric, resource))
            if newest and resource.info:
                self._target_info(resource, newest)
        for entry in self._book.finish():
            self._points.total(entry)
        return self._accepted, dict(self._reasons)

    def _metric(self, metric: Any, resource: Resource) -> int:
        """Take one metric's points; the newest time among them, in milliseconds."""
        kind = metric.WhichOneof("data")
        if kind is None:
            return 0
        data = getattr(metric, kind)
        number = len(data.data_points)
        if kind == "sum" and data.is_monotonic:
            meant = Kind.COUNTER
        elif kind in ("sum", "gauge"):
            meant = Kind.GAUGE
        else:
            meant = Kind.SUMMARY if kind == "summary" else Kind.HISTOGRAM
        name = metric_name(metric.name, metric.unit, meant)
        delta = getattr(data, "aggregation_temporality", 2)
        if not name or delta not in (1, 2):
            self._reasons[Reason.NAME if not name else Reason.TEMPORALITY] += number
            return 0
        about = About(name, meant, unit_word(metric.unit), metric.description[:HELP_LIMIT])
        prefix = hash((resource.key, metric.name, metric.unit, kind, meant))
        read = reading_of(kind, rising=meant is Kind.COUNTER, delta=delta == 1)
        newest = 0
        for point in data.data_points:
            try:
                at = self._points.time(point)
                made = read.shape(point)
                key = hash((prefix, made, *sorted([pair.SerializeToString() for pair in point.attributes])))
                entry = self._book.find(key) or self._enter(key, about, resource, point, made, read)
                read.take(self._points, entry, key, at, point)
                newest = max(newest, at)
                self._accepted += 1
            except Refused as refused:
                self._reasons[refused.reason] += 1
        return newest

    def _enter(self, key: int, about: About, resource: Resource, point: Any, shape: Shape, read: Reading) -> Entry:
        if len(point.attributes) > ATTRIBUTES_LIMIT:
            raise Refused(Reason.ATTRIBUTES)

        def make(shared: dict[str, str] | None) -> Members:
            own = translated(pairs_of(point.attributes), resource.own) if shared is None else shared
            return [*read.members(about.family, own, shape)]

        entry = self._book.enter(key, about, resource.own, shape, make)
        if entry is None:
            raise Refused(Reason.SERIES)
        return entry

    def _target_info(self, resource: Resource, at: int) -> None:
        """What else the resource says of itself, once for each body, as Prometheus has it."""
        about = About("target_info", Kind.INFO, "", "Target metadata")
        key = hash(("target_info", resource.key))

        def make(shared: dict[str, str] | None) -> Members:
            return [("target_info", {**resource.info, **resource.own} if shared is None else shared)]

        entry = self._book.find(key) or self._book.enter(key, about, resource.own, Shape(), make)
        if entry is not None and not entry.overflow and at > entry.last:
            self._book.rows.sample("target_info", entry.ids[0], at, 1.0)
            entry.last = at
