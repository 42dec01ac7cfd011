"""Questions asked of the query application over the embedded engine, and spans sent to it as OTLP."""

from __future__ import annotations

from typing import Any

import httpx2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from atoll.settings import Telemetry
from atoll.telemetry import otlp
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.query.app import make_app
from atoll.testing import FakeClock

MS = 1_000_000
WALL = 1_795_000_000.0
NOON = int(WALL) * 1000 * MS
"""Nanoseconds: the test's now."""


class Stage:
    """A store, who writes to it, and who asks."""

    def __init__(self, pool: EnginePool, knobs: Telemetry | None = None) -> None:
        self.pool = pool
        self.app = make_app(pool, FakeClock(wall=WALL), knobs or Telemetry())
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://localhost")
        self._spans: list[bytes] = []

    async def ask(self, path: str, *pairs: tuple[str, Any], **query: Any) -> Any:
        """The answer's JSON; the question must be a good one."""
        response = await self.get(path, *pairs, **query)
        assert response.status_code == 200, response.text
        return response.json()

    async def get(self, path: str, *pairs: tuple[str, Any], **query: Any) -> httpx2.Response:
        """GET /api/v1/… ."""
        return await self.client.get(f"/api/v1/{path}", params=[*pairs, *query.items()])

    def span(
        self,
        trace: str,
        name: str,
        begin: float,
        end: float,
        *,
        service: str = "web",
        parent: str = "",
        kind: int = 2,
        error: bool = False,
        instance: str = "",
        attributes: dict[str, str | int] | None = None,
        message: str = "",
    ) -> None:
        """Gather a span: `begin` and `end` in milliseconds from NOON; its id is made of its name."""
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        _set(resource.resource.attributes, {"service.name": service, "service.instance.id": instance})
        span = resource.scope_spans.add().spans.add(
            trace_id=bytes.fromhex(trace),
            span_id=span_id(name),
            parent_span_id=span_id(parent) if parent else b"",
            name=name,
            kind=kind,
            start_time_unix_nano=NOON + int(begin * MS),
            end_time_unix_nano=NOON + int(end * MS),
        )
        span.status.code = 2 if error else 0
        span.status.message = message
        _set(span.attributes, attributes or {})
        self._spans.append(request.SerializeToString())

    async def commit(self) -> None:
        """Store what was gathered."""
        await self.pool.insert(otlp.traces(self._spans))
        self._spans.clear()

    async def log(
        self,
        text: str,
        at: float,
        *,
        trace: str = "",
        span: str = "",
        service: str = "web",
        scope: str = "",
        said: dict[str, str | int] | None = None,
    ) -> None:
        """Store a log record, `at` milliseconds from NOON."""
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        _set(resource.resource.attributes, {"service.name": service})
        logs = resource.scope_logs.add()
        logs.scope.name = scope
        record = logs.log_records.add(
            time_unix_nano=NOON + int(at * MS),
            severity_number=9,
            trace_id=bytes.fromhex(trace),
            span_id=span_id(span) if span else b"",
        )
        record.body.string_value = text
        _set(record.attributes, said or {})
        await self.pool.insert(otlp.logs([request.SerializeToString()]))


def span_id(name: str) -> bytes:
    return name.encode()[:8].ljust(8, b"_")


def _set(attributes: Any, given: dict[str, str | int]) -> None:
    for key, value in given.items():
        one = attributes.add(key=key)
        if isinstance(value, int):
            one.value.int_value = value
        else:
            one.value.string_value = value


def trace_id(number: int) -> str:
    """Ids that differ early."""
    return f"{number:08x}".ljust(32, "a")
