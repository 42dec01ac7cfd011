"""Lines printed into files, collected into the embedded engine, and asked for over the query application."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from atoll.kit.clock import Instant, SystemClock
from atoll.settings import Telemetry
from atoll.supervisor.backlog import Backlog, Place
from atoll.telemetry import otlp
from atoll.telemetry.logs import api
from atoll.telemetry.logs.collect import Collector
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.query.app import make_app


class SetOn(SystemClock):
    """The machine's clock, set on by hand: nobody waits while a record waits for more lines."""

    ahead = 0.0
    """Seconds."""

    def now(self) -> Instant:
        """Monotonic seconds."""
        return Instant(super().now() + self.ahead)


class Stage:
    """One instance's worth of files, or more. Times are seconds from `wall`, a moment ago."""

    def __init__(self, pool: EnginePool, folder: Path, knobs: Telemetry | None = None) -> None:
        self.clock = SetOn()
        self.wall = round(self.clock.wall() - 60.0)
        self.pool = pool
        self.folder = folder
        app = make_app(pool, self.clock, knobs or Telemetry(), routes=api.ROUTES)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://localhost")
        self.collector = Collector(
            {"stdout": partial(_opened, folder / "logs"), "platform": partial(_opened, folder / "platform")},
            pool,
            self.clock,
            folder / "collected.json",
        )

    def prints(
        self, *lines: str, at: float = 0.0, step: float = 0.001, instance: str = "web-1", kind: str = "logs"
    ) -> None:
        """Lines with their mark, as the keeper writes them."""
        path = self.folder / kind / instance.rpartition("-")[0] / f"{instance}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            for number, line in enumerate(lines):
                file.write(f"{self.wall + at + number * step:.3f} {line}\n")

    async def collect(self) -> None:
        """Commit what was printed, records that wait for more lines included."""
        await self.collector.round()
        self.clock.ahead += 0.31
        await self.collector.round()

    async def send(
        self, text: str, at: float = 0.0, *, instance: str = "web-1", trace: str = "", severity: int = 9
    ) -> None:
        """A record as OTLP."""
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        for key, value in (("service.name", instance.rpartition("-")[0]), ("service.instance.id", instance)):
            resource.resource.attributes.add(key=key).value.string_value = value
        record = resource.scope_logs.add().log_records.add(
            time_unix_nano=int((self.wall + at) * 1_000_000_000),
            severity_number=severity,
            severity_text="INFO",
            trace_id=bytes.fromhex(trace),
        )
        record.body.string_value = text
        await self.pool.insert(otlp.logs([request.SerializeToString()]))

    async def get(self, path: str, *pairs: tuple[str, Any], **query: Any) -> httpx2.Response:
        """GET /api/v1/logs… ."""
        return await self.client.get(f"/api/v1/logs{path}", params=[*pairs, *query.items()])

    async def ask(self, path: str = "", *pairs: tuple[str, Any], **query: Any) -> Any:
        """The answer's JSON; the question must be a good one."""
        response = await self.get(path, *pairs, **query)
        assert response.status_code == 200, response.text
        return response.json()

    async def texts(self, *pairs: tuple[str, Any], **query: Any) -> list[str]:
        """The texts that a search finds, the oldest first."""
        found = await self.ask("", *pairs, **{"order": "oldest", **query})
        return [record["text"] for record in found["records"]]


def _opened(folder: Path, known: Mapping[str, tuple[int, str, int]]) -> Backlog:
    return Backlog(folder, {name: Place(*place) for name, place in known.items()})
