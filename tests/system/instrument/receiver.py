"""A recording OTLP receiver: what a real one takes, decoded with OpenTelemetry's own messages."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SERVER, CLIENT = 2, 3
MESSAGES: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}


def plain(pairs: Sequence[Any]) -> dict[str, Any]:
    """Attributes as a map."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


@dataclass(frozen=True)
class Span:
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    scope: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    start: int
    end: int
    status: int


@dataclass(frozen=True)
class Line:
    body: str
    trace: str
    span: str
    scope: str
    severity: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Receiver:
    endpoint: str
    spans: list[Span] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    metrics: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    status: int = 200
    posts: int = 0

    def servers(self) -> list[Span]:
        return [span for span in self.spans if span.kind == SERVER]

    def wait(self, true: Callable[[], Any], seconds: float = 20.0) -> Any:
        """What `true` returns once it is true, or at the end of the time."""
        until = time.monotonic() + seconds
        while not (found := true()) and time.monotonic() < until:
            time.sleep(0.02)
        return found

    def take(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        self.posts += 1
        if self.status != 200:
            return self.status
        self.headers.append(headers)
        message = MESSAGES[path]
        if headers["content-type"] == "application/json":
            request = json_format.ParseDict(json.loads(body, object_hook=_ids_as_protobuf_has_them), message())
        else:
            request = message.FromString(body)
        if path == "/v1/traces":
            self._spans(request)
        elif path == "/v1/logs":
            self._lines(request)
        else:
            for part in request.resource_metrics:
                for of_scope in part.scope_metrics:
                    self.metrics += [(metric.name, metric) for metric in of_scope.metrics]
        return 200

    def _spans(self, request: Any) -> None:
        for part in request.resource_spans:
            resource = plain(part.resource.attributes)
            for of_scope in part.scope_spans:
                for one in of_scope.spans:
                    self.spans.append(
                        Span(
                            one.name,
                            one.kind,
                            one.trace_id.hex(),
                            one.span_id.hex(),
                            one.parent_span_id.hex(),
                            of_scope.scope.name,
                            plain(one.attributes),
                            resource,
                            one.start_time_unix_nano,
                            one.end_time_unix_nano,
                            one.status.code,
                        )
                    )

    def _lines(self, request: Any) -> None:
        for part in request.resource_logs:
            resource = plain(part.resource.attributes)
            for of_scope in part.scope_logs:
                for one in of_scope.log_records:
                    body = one.body.string_value
                    attributes = plain(one.attributes)
                    trace, span = one.trace_id.hex(), one.span_id.hex()
                    line = Line(body, trace, span, of_scope.scope.name, one.severity_number, attributes, resource)
                    self.lines.append(line)


def _ids_as_protobuf_has_them(part: dict[str, Any]) -> dict[str, Any]:
    """OTLP says hex, Protobuf's JSON base64."""
    ids = ("traceId", "spanId", "parentSpanId")
    return {name: b64encode(bytes.fromhex(text)).decode() if name in ids else text for name, text in part.items()}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            try:
                status = receiver.take(self.path, body, {k.lower(): v for k, v in self.headers.items()})
            except Exception as error:  # noqa: BLE001 - the test says which
                receiver.bad.append(f"{self.path}: {error!r}")
                status = 400
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
