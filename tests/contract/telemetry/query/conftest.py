from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from atoll.kit.clock import SystemClock
from atoll.telemetry.engine import Engine
from atoll.telemetry.pool import EnginePool
from tests.contract.telemetry.query.stage import Stage


@pytest.fixture
def stage(pool: EnginePool) -> Stage:
    return Stage(pool)


@pytest.fixture
async def as_it_is(embedded: Engine) -> AsyncIterator[Stage]:
    """Whatever the store has; for tests that only read, see `holding`."""
    pool = EnginePool(embedded, SystemClock())
    yield Stage(pool)
    await pool.close()
