"""The telemetry engines under test: one embedded store a session (chDB takes one path a process), empty tables a test.

`engine` is the embedded engine with the newest schema and no rows, `pool` the same for asyncio. `either` is both
engines, one after the other: the embedded one, and the one for servers on ClickHouse's HTTP interface (`shim.py`, a
process of its own). The schema is made once; a test gets tables of its own by emptying those that have rows. Tests that
only read share what one of them stored: `holding` says what the embedded store has now, `unread` is both engines as they are.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from atoll.kit.clock import SystemClock
from atoll.settings import Telemetry
from atoll.telemetry import chdb, clickhouse
from atoll.telemetry.engine import Engine
from atoll.telemetry.pool import EnginePool

KNOBS = Telemetry()
USED = """
SELECT name, ifNull(total_rows, 0) > 0 AS filled,
 endsWith(engine, 'MergeTree') AND position(create_table_query, ' TTL ') > 0 AS ageing
FROM system.tables WHERE database = currentDatabase() AND name != 'schema_versions' AND (filled OR ageing)
"""


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The one store of this process. Tests take `engine`."""
    needs("chdb")
    engine = chdb.open_engine(tmp_path_factory.mktemp("telemetry") / "store", KNOBS)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What answers like a ClickHouse server."""
    needs("chdb")
    folder = tmp_path_factory.mktemp("telemetry-server")
    command = [sys.executable, str(Path(__file__).with_name("shim.py")), str(folder / "store")]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    with process.stdout:
        port = process.stdout.readline().strip()
        assert port, (folder / "errors").read_text()
        yield f"clickhouse://default:secret@127.0.0.1:{port}/shop_telemetry"
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def server(server_url: str) -> Iterator[Engine]:
    needs("clickhouse_connect")
    engine = clickhouse.open_engine(server_url, KNOBS)
    yield engine
    engine.close()


@dataclass
class Holding:
    """Whose rows the embedded store has; empty: nobody's in particular."""

    whose: str = ""


@pytest.fixture(scope="session")
def holding() -> Holding:
    return Holding()


@pytest.fixture
def engine(embedded: Engine, holding: Holding) -> Engine:
    """An engine whose tables are empty."""
    holding.whose = ""
    empty(embedded)
    return embedded


@pytest.fixture(params=["embedded", "server"])
def unread(request: pytest.FixtureRequest) -> Engine:
    """Both engines, for statements that read no table of ours."""
    engine: Engine = request.getfixturevalue(request.param)
    return engine


@pytest.fixture
def either(unread: Engine, holding: Holding) -> Engine:
    """Both engines, with empty tables."""
    holding.whose = ""
    empty(unread)
    return unread


@pytest.fixture
async def pool(engine: Engine) -> AsyncIterator[EnginePool]:
    pool = EnginePool(engine, SystemClock())
    yield pool
    await pool.close()


def empty(engine: Engine) -> None:
    for row in engine.rows(USED):
        if row["ageing"]:  # what a process over this store said about ages is not for the next test
            engine.command(f"ALTER TABLE {row['name']} REMOVE TTL")
        if row["filled"]:
            engine.command(f"TRUNCATE TABLE {row['name']}")


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip('needs pip install "atoll[telemetry]"')
