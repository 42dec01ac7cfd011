"""The telemetry engine under test: one embedded store a session (chDB takes one path a process), empty tables a test.

`engine` is an open engine with the newest schema and no rows; `pool` the same for asyncio. The schema is made once;
a test gets tables of its own by emptying those that the test before it wrote to.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from atoll.kit.clock import SystemClock
from atoll.settings import Telemetry
from atoll.telemetry.chdb import ChdbEngine, open_engine
from atoll.telemetry.engine import DATABASE, Engine
from atoll.telemetry.pool import EnginePool

FILLED = f"""
SELECT name FROM system.tables
WHERE database = '{DATABASE}' AND name != 'schema_versions' AND ifNull(total_rows, 0) > 0
"""


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbEngine]:
    """The one store of this process. Tests take `engine`."""
    if importlib.util.find_spec("chdb") is None:
        pytest.skip('needs pip install "atoll[telemetry]"')
    engine = open_engine(tmp_path_factory.mktemp("telemetry") / "store", Telemetry())
    yield engine
    engine.close()


@pytest.fixture
def engine(embedded: ChdbEngine) -> Engine:
    """An engine whose tables are empty."""
    empty(embedded)
    return embedded


@pytest.fixture
async def pool(engine: Engine) -> AsyncIterator[EnginePool]:
    pool = EnginePool(engine, SystemClock())
    yield pool
    await pool.close()


def empty(engine: Engine) -> None:
    for row in engine.rows(FILLED):
        engine.command(f"TRUNCATE TABLE {row['name']}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For tests that open a store in a process of their own."""
    return tmp_path / "telemetry"
