"""Real clients: what an OpenTelemetry SDK sends over HTTP or gRPC is found in the tables, field by field."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import random
import time
from collections.abc import Callable
from typing import Any

import grpc
import httpx2
import pytest
from grpc import aio
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from atoll.errors import StorageFull
from tests.contract.telemetry.receive.conftest import Served
from tests.unit.telemetry.receive import bodies

RNG = random.Random(3)
RESOURCE = Resource.create({"service.name": "till", "service.instance.id": "till-1"})
Make = Callable[[Served], Any]
SPANS: dict[str, Make] = {
    "http": lambda at: HttpSpans(f"{at.http}/v1/traces", headers=at.headers),
    "http gzip": lambda at: HttpSpans(f"{at.http}/v1/traces", headers=at.headers, compression=Compression.Gzip),
    "http deflate": lambda at: HttpSpans(f"{at.http}/v1/traces", headers=at.headers, compression=Compression.Deflate),
    "grpc": lambda at: GrpcSpans(at.grpc, insecure=True, headers=at.headers),
    "grpc gzip": lambda at: GrpcSpans(at.grpc, insecure=True, headers=at.headers, compression=grpc.Compression.Gzip),
    "grpc deflate": lambda at: GrpcSpans(
        at.grpc, insecure=True, headers=at.headers, compression=grpc.Compression.Deflate
    ),
}
FIELDS = """
SELECT lower(hex(TraceId)) AS trace, lower(hex(SpanId)) AS span, lower(hex(ParentSpanId)) AS parent, SpanName AS name,
 SpanKind AS kind, ServiceName AS service, InstanceId AS instance, StatusCode AS status, StatusMessage AS message,
 toUnixTimestamp64Nano(Timestamp) AS start, Duration AS duration, ScopeName AS scope,
 toJSONString(SpanAttributes) AS attributes, `Events.Name` AS events FROM spans
"""


@pytest.mark.parametrize("make", SPANS.values(), ids=SPANS.keys())
async def test_a_span_of_the_sdk_is_stored_field_by_field(served: Served, make: Make) -> None:
    def work() -> Any:
        provider = TracerProvider(resource=RESOURCE)
        provider.add_span_processor(SimpleSpanProcessor(make(served)))
        tracer = provider.get_tracer("test.scope")
        attributes: dict[str, Any] = {
            "text": "x" * 3000,
            "whole": 7,
            "part": 0.5,
            "yes": True,
            "no": False,
            "empty": "",
        }
        span = tracer.start_span("pay", kind=SpanKind.CLIENT, attributes=attributes)
        span.add_event("charged")
        span.set_status(Status(StatusCode.ERROR, "card declined"))
        span.end()
        provider.shutdown()
        return span

    span: Any = await asyncio.to_thread(work)
    (row,) = served.rows(FIELDS)
    assert row.pop("attributes") == (
        '{"text":"' + "x" * 3000 + '","whole":"7","part":"0.5","yes":"true","no":"false","empty":""}'
    )
    assert row == {
        "trace": f"{span.context.trace_id:032x}",
        "span": f"{span.context.span_id:016x}",
        "parent": "0" * 16,
        "name": "pay",
        "kind": 3,
        "service": "till",
        "instance": "till-1",
        "status": 2,
        "message": "card declined",
        "start": span.start_time,
        "duration": span.end_time - span.start_time,
        "scope": "test.scope",
        "events": ["charged"],
    }


@pytest.mark.parametrize("way", ["http", "grpc"])
async def test_a_log_record_of_the_sdk_is_stored(served: Served, way: str) -> None:
    def work() -> None:
        exporter: Any = (
            HttpLogs(f"{served.http}/v1/logs", headers=served.headers)
            if way == "http"
            else GrpcLogs(served.grpc, insecure=True, headers=served.headers)
        )
        provider = LoggerProvider(resource=RESOURCE)
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        logger = logging.getLogger("test.of.otlp")
        logger.addHandler(LoggingHandler(logger_provider=provider))
        logger.warning("order %s is late", 7, extra={"order": 7})
        logger.handlers.clear()
        provider.shutdown()

    await asyncio.to_thread(work)
    sql = "SELECT Body, SeverityNumber, ServiceName, LogAttributes['order'] AS order FROM logs WHERE Source = 'otlp'"
    (row,) = served.rows(sql)
    assert row == {"Body": "order 7 is late", "SeverityNumber": 13, "ServiceName": "till", "order": "7"}


@pytest.mark.parametrize("way", ["http", "grpc"])
async def test_a_counter_of_the_sdk_is_stored(served: Served, way: str) -> None:
    def work() -> None:
        exporter: Any = (
            HttpMetrics(f"{served.http}/v1/metrics", headers=served.headers)
            if way == "http"
            else GrpcMetrics(served.grpc, insecure=True, headers=served.headers)
        )
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
        provider = MeterProvider(metric_readers=[reader], resource=RESOURCE)
        provider.get_meter("test").create_counter("orders").add(5, {"kind": "book"})
        provider.shutdown()

    await asyncio.to_thread(work)
    (row,) = served.rows("SELECT MetricName, Value FROM samples WHERE MetricName = 'orders_total'")
    assert row["Value"] == 5
    assert served.process.parts.intake.counts.accepted["metrics"] >= 1  # type: ignore[index]


async def test_json_by_hand_is_stored(served: Served) -> None:
    now = time.time_ns()
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "name": "by hand",
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + 1000),
        "kind": 2,
    }
    attributes = [{"key": "service.name", "value": {"stringValue": "curl"}}]
    told = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [span]}]}]}
    async with httpx2.AsyncClient(headers=served.headers) as client:
        answer = await client.post(f"{served.http}/v1/traces", json=told)
    assert (answer.status_code, answer.json()) == (200, {})
    (row,) = served.rows(FIELDS)
    assert (row["trace"], row["service"], row["duration"], row["start"]) == (
        "5b8efff798038103d269b633813fc60c",
        "curl",
        1000,
        now,
    )


def exports(served: Served, service: str = "trace.v1.Trace") -> Any:
    channel = aio.insecure_channel(served.grpc)
    return channel, channel.unary_unary(f"/opentelemetry.proto.collector.{service}Service/Export")


async def refused(call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as error:
        await call
    return error.value


async def test_grpc_refuses_with_the_right_codes(served: Served) -> None:
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status as Told

    body = bodies.traces(bodies.span(RNG)).SerializeToString()
    metadata = tuple(served.headers.items())
    channel, export = exports(served)
    async with channel:
        assert (await refused(export(body))).code() is grpc.StatusCode.UNAUTHENTICATED
        error = await refused(export(body, metadata=(("authorization", "Bearer wrong"),)))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        for nonsense in (b"nonsense", b"\x1f\x8bnonsense", gzip.compress(bytes(50_000_000))):
            error = await refused(export(nonsense, metadata=metadata))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        too_large = await refused(export(bytes(3_000_000), metadata=metadata))
        assert too_large.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with served.process.parts.room.claim() as others:
            others.take(8_000_000)
            error = await refused(export(body, metadata=metadata))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
        told, retry = Told.FromString(trailers["grpc-status-details-bin"]), RetryInfo()
        assert told.details[0].Unpack(retry)
        assert retry.retry_delay.seconds == 1
        served.engine.fail = StorageFull("no room")
        error = await refused(export(body, metadata=metadata))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        served.engine.fail = None
        assert await export(body, metadata=metadata) == b""
    unknown_channel, unknown = exports(served, "profiles.v1.Profiles")
    async with unknown_channel:
        assert (await refused(unknown(body, metadata=metadata))).code() is grpc.StatusCode.UNIMPLEMENTED
    assert served.process.parts.room.held == 0
    assert served.process.parts.intake.counts.in_progress == 0


async def test_many_small_requests_make_few_inserts_and_few_parts(served: Served) -> None:
    """G9, at the pace of these tests: twenty commits a second at most."""
    small = [bodies.traces(bodies.span(RNG)).SerializeToString() for _ in range(300)]
    headers = {**served.headers, "content-type": "application/x-protobuf"}
    limits = httpx2.Limits(max_connections=50)
    began = time.monotonic()
    async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=20) as client:
        answers = await asyncio.gather(*(client.post(f"{served.http}/v1/traces", content=one) for one in small))
    took = time.monotonic() - began
    assert {one.status_code for one in answers} == {200}
    assert served.inserted("raw_traces") <= 4 + took / 0.05
    assert served.inserted("raw_traces") < 100
    assert served.rows("SELECT count() AS n FROM spans") == [{"n": 300}]
    active = "SELECT count() AS n FROM system.parts WHERE active AND table = 'spans' AND database = 'atoll'"
    assert served.rows(active)[0]["n"] <= 50


async def test_what_is_accepted_and_what_is_rejected_is_what_was_sent(served: Served) -> None:
    """G4: the corpus of bad values, one request, counted in its answer and in the table."""
    corpus = [bodies.span(RNG) for _ in range(12)]
    corpus[1].trace_id = bytes(16)
    corpus[2].span_id = b"short"
    corpus[3].start_time_unix_nano = 0
    corpus[4].start_time_unix_nano = 2**64 - 1
    corpus[5].end_time_unix_nano = corpus[5].start_time_unix_nano - 1
    corpus[6].attributes.extend(bodies.text(f"a{number}", "v") for number in range(10_000))
    corpus[7].attributes[0].value.string_value = "x" * (1 << 20)
    corpus[8].attributes[0].value.double_value = float("nan")
    corpus[9].name = "NUL\0 and \x1b[31m red"
    corpus[10].parent_span_id = b"no"
    corpus[11].CopyFrom(corpus[0])
    body = bodies.traces(*corpus, bodies.span(RNG, name="UTF8")).SerializeToString().replace(b"UTF8", b"UT\xff8")
    async with httpx2.AsyncClient(headers=served.headers) as client:
        answer = await client.post(
            f"{served.http}/v1/traces", content=body, headers={"content-type": "application/x-protobuf"}
        )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    told = ExportTraceServiceResponse.FromString(answer.content).partial_success
    stored = served.rows("SELECT count() AS n FROM spans")[0]["n"]
    assert answer.status_code == 200
    assert (stored, told.rejected_spans) == (8, 5), told.error_message
    assert stored + told.rejected_spans == len(corpus) + 1
    far = (
        "SELECT count() AS n FROM spans WHERE Timestamp < now() - INTERVAL 1 DAY OR Timestamp > now() + INTERVAL 1 DAY"
    )
    assert served.rows(far) == [{"n": 0}]


async def test_nothing_of_its_own_is_traced(served: Served) -> None:
    """G15: taking spans makes no spans."""
    async with httpx2.AsyncClient(headers=served.headers) as client:
        for _ in range(3):
            body = bodies.traces(bodies.span(RNG)).SerializeToString()
            await client.post(
                f"{served.http}/v1/traces", content=body, headers={"content-type": "application/protobuf"}
            )
    assert served.rows("SELECT DISTINCT ServiceName FROM spans") == [{"ServiceName": "orders"}]
    assert served.rows("SELECT count() AS n FROM spans") == [{"n": 3}]


async def test_the_status_counts_what_came_and_the_metrics_say_the_same(served: Served) -> None:
    async with httpx2.AsyncClient(headers=served.headers) as client:
        body = bodies.traces(bodies.span(RNG), bodies.span(RNG, trace_id=b"x")).SerializeToString()
        await client.post(f"{served.http}/v1/traces", content=body, headers={"content-type": "application/protobuf"})
        await client.post(f"{served.http}/v1/traces", content=body)
    transport = httpx2.AsyncHTTPTransport(uds=str(served.settings.telemetry_socket))
    async with httpx2.AsyncClient(transport=transport, base_url="http://telemetry/api/v1/telemetry") as client:
        status = (await client.get("/status")).json()
        metrics = (await client.get("/metrics")).text
    assert status["receive"]["requests"] == {"traces http/protobuf": 1}
    assert status["receive"]["accepted"] == {"traces": 1}
    assert status["receive"]["rejected"] == {"traces": {"trace id": 1}}
    assert status["receive"]["refused"] == {"unsupported-media": 1}
    assert status["engine"]["tables"]["spans"]["rows"] == 1
    assert status["buffer"]["last_insert_age"] < 20
    assert {"requests", "logs", "metrics", "queries"} <= status["parts"].keys()
    assert 'atoll_telemetry_items_total{signal="traces"} 1' in metrics
    assert 'atoll_telemetry_rejected_items_total{signal="traces",reason="trace id"} 1' in metrics
    assert json.dumps(status)
