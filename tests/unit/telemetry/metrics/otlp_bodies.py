"""OTLP requests for tests, made with the official messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

NOW = 1_795_000_000_000
"""Milliseconds: where FakeClock's wall begins."""
DELTA, CUMULATIVE = 1, 2


def attributes(said: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in said.items()]


def any_value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    return AnyValue(string_value=value)


def body(*metrics: Metric, resource: Mapping[str, Any] | None = None) -> bytes:
    said = {"service.name": "orders", "service.instance.id": "orders-1"} if resource is None else resource
    group = ResourceMetrics(
        resource=Resource(attributes=attributes(said)), scope_metrics=[ScopeMetrics(metrics=list(metrics))]
    )
    return bytes(ExportMetricsServiceRequest(resource_metrics=[group]).SerializeToString())


def number(value: float, at: int = NOW, *, start: int = NOW - 60_000, flags: int = 0, **said: Any) -> NumberDataPoint:
    point = NumberDataPoint(
        time_unix_nano=at * 1_000_000, start_time_unix_nano=start * 1_000_000, flags=flags, attributes=attributes(said)
    )
    if isinstance(value, int):
        point.as_int = value
    else:
        point.as_double = value
    return point


def counter(name: str, *points: NumberDataPoint, unit: str = "", temporality: Any = CUMULATIVE) -> Metric:
    data = Sum(data_points=points, is_monotonic=True, aggregation_temporality=temporality)
    return Metric(name=name, unit=unit, sum=data)


def level(name: str, *points: NumberDataPoint, unit: str = "", temporality: Any = CUMULATIVE) -> Metric:
    return Metric(name=name, unit=unit, sum=Sum(data_points=points, aggregation_temporality=temporality))


def gauge(name: str, *points: NumberDataPoint, unit: str = "") -> Metric:
    return Metric(name=name, unit=unit, description="What it is.", gauge=Gauge(data_points=points))


def buckets(
    counts: list[int], bounds: list[float], total: float | None, at: int = NOW, *, count: int | None = None, **said: Any
) -> HistogramDataPoint:
    return HistogramDataPoint(
        time_unix_nano=at * 1_000_000,
        bucket_counts=counts,
        explicit_bounds=bounds,
        count=sum(counts) if count is None else count,
        sum=total,
        attributes=attributes(said),
    )


def histogram(name: str, *points: HistogramDataPoint, unit: str = "s", temporality: Any = CUMULATIVE) -> Metric:
    return Metric(name=name, unit=unit, histogram=Histogram(data_points=points, aggregation_temporality=temporality))


def powers(
    counts: list[int], offset: int, scale: int, total: float, at: int = NOW, *, zero: int = 0, **said: Any
) -> ExponentialHistogramDataPoint:
    return ExponentialHistogramDataPoint(
        time_unix_nano=at * 1_000_000,
        scale=scale,
        zero_count=zero,
        count=zero + sum(counts),
        sum=total,
        positive=ExponentialHistogramDataPoint.Buckets(offset=offset, bucket_counts=counts),
        attributes=attributes(said),
    )


def exponential(name: str, *points: ExponentialHistogramDataPoint, temporality: Any = CUMULATIVE) -> Metric:
    data = ExponentialHistogram(data_points=points, aggregation_temporality=temporality)
    return Metric(name=name, unit="s", exponential_histogram=data)


def summary(name: str, quantiles: Mapping[float, float], count: int, total: float, at: int = NOW) -> Metric:
    point = SummaryDataPoint(
        time_unix_nano=at * 1_000_000,
        count=count,
        sum=total,
        quantile_values=[SummaryDataPoint.ValueAtQuantile(quantile=q, value=v) for q, v in quantiles.items()],
    )
    return Metric(name=name, summary=Summary(data_points=[point]))
