from __future__ import annotations

import pytest

from atoll.telemetry.pool import EnginePool
from tests.contract.telemetry.query.stage import Stage


@pytest.fixture
def stage(pool: EnginePool) -> Stage:
    return Stage(pool)
