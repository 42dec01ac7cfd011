from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atoll.telemetry.pool import EnginePool
from tests.contract.telemetry.logs.stage import Stage


@pytest.fixture
async def stage(pool: EnginePool, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(pool, tmp_path)
    yield stage
    stage.collector.close()
    await stage.client.aclose()
