"""C9: SQLite before 3.51.3 may corrupt a log that two connections write or checkpoint; ours has one, and doctor looks."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from atoll.cli.check import Verdict, check_sqlite
from atoll.settings import Store as StoreSettings
from atoll.store.backup import backup
from atoll.store.sqlite import DATABASE, SqliteStore, open_store
from atoll.testing import FakeClock
from tests.contract.store.words import put


def writable(path: Path) -> int:
    """Connections of this process that may write the database at `path`."""
    ours = (one for one in apsw.connections() if one.filename == str(path))
    return sum(not one.readonly("main") for one in ours)


async def test_one_connection_writes_and_checkpoints_also_during_a_backup(tmp_path: Path) -> None:
    async with open_store(tmp_path, StoreSettings(), FakeClock()) as store:
        assert isinstance(store, SqliteStore)
        for number in range(50):
            await store.commit([put("a", str(number))])
        assert writable(tmp_path / DATABASE) == 1
        await backup(store, tmp_path / "copy")
        assert writable(tmp_path / DATABASE) == 1
    assert writable(tmp_path / DATABASE) == 0


def test_the_sqlite_of_debian_12_is_called_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    (finding,) = check_sqlite()
    assert finding.verdict is Verdict.BROKEN
    assert "WAL-reset" in finding.detail
    assert finding.fix == "pip install --upgrade apsw"
