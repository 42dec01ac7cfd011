from __future__ import annotations

import time

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from atoll.telemetry import otlp
from atoll.telemetry.pool import EnginePool


async def test_a_span_of_otlp_is_found(pool: EnginePool) -> None:
    request = ExportTraceServiceRequest()
    now = time.time_ns()
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"t" * 16, span_id=b"s" * 8, name="GET /", kind=2, start_time_unix_nano=now, end_time_unix_nano=now + 7
    )
    await pool.insert(otlp.traces([request.SerializeToString()]))
    assert await pool.rows("SELECT SpanName, Duration, hex(TraceId) AS id FROM all_spans") == [
        {"SpanName": "GET /", "Duration": 7, "id": "74" * 16}
    ]


async def test_a_log_record_of_otlp_is_found(pool: EnginePool) -> None:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=time.time_ns())
    record.body.string_value = "one\n\ntwo"
    await pool.insert(otlp.logs([request.SerializeToString()]))
    assert await pool.rows("SELECT Body FROM logs WHERE hasToken(Body, 'two')") == [{"Body": "one\n\ntwo"}]
    assert (await pool.arrow("SELECT count() AS n FROM spans"))["n"].to_pylist() == [0]
