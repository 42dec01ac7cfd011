"""The whole telemetry process inside the test, over the one store of the session: real sockets, real clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from atoll.kit.clock import SystemClock
from atoll.settings import Settings, load
from atoll.telemetry.engine import Engine, Insert, Limits
from atoll.telemetry.process import Process
from atoll.wiring.telemetry import serving


class Lent:
    """An engine that is not closed by whom it is lent to; `fail` makes inserts raise."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.fail: Exception | None = None
        self.inserts: list[Insert] = []

    def insert(self, insert: Insert) -> None:
        if self.fail is not None:
            raise self.fail
        self._engine.insert(insert)
        self.inserts.append(insert)

    def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None
    ) -> list[dict[str, Any]]:
        return self._engine.rows(sql, parameters, limits=limits)

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None) -> Any:
        return self._engine.arrow(sql, parameters, limits=limits)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._engine.command(sql, parameters)

    def rest(self) -> None:
        self._engine.rest()

    def close(self) -> None:
        """The session's fixture does."""


@dataclass
class Served:
    """A process that answers."""

    process: Process
    settings: Settings
    engine: Lent

    @property
    def token(self) -> str:
        return self.settings.ingest_token_file.read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.process.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.process.grpc_port}"

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.engine.rows(sql)

    def inserted(self, table: str) -> int:
        return sum(one.table == table for one in self.engine.inserts)


@pytest.fixture
async def served(engine: Engine, tmp_path: Path) -> AsyncIterator[Served]:
    """The process, with quick commits."""
    knobs = {"HTTP_PORT": "0", "GRPC_PORT": "0", "FLUSH": "0.05", "BODY_LIMIT": "2000000", "BUFFER_BYTES": "8000000"}
    settings = load(tmp_path / "s", {f"ATOLL_TELEMETRY_{name}": value for name, value in knobs.items()})
    lent = Lent(engine)
    async with serving(settings, SystemClock(), engine=lambda _: lent) as process:
        yield Served(process, settings, lent)
