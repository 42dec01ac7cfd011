"""Opening a store: whose it is, of which version, and what is said when it cannot be."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from atoll.errors import AlreadyRunning, InvalidValue, Overloaded, ProgramMissing, StorageIncompatible
from atoll.settings import Telemetry
from atoll.telemetry import chdb, clickhouse, otlp
from atoll.telemetry.chdb import ChdbEngine
from atoll.telemetry.engine import Engine
from atoll.telemetry.schema import MIGRATIONS, migrate, statements
from tests.contract.telemetry.bodies import record


def folder_of(engine: Engine) -> Path:
    assert isinstance(engine, ChdbEngine)
    return Path(engine.rows("SELECT path FROM system.disks WHERE name = 'default'")[0]["path"]).parent


def test_who_holds_a_store_is_said_to_whoever_comes_second(engine: Engine) -> None:
    with pytest.raises(AlreadyRunning, match=str(os.getpid())) as refused:
        chdb.open_engine(folder_of(engine), Telemetry())
    assert refused.value.fields["pid"] == os.getpid()
    assert engine.rows("SELECT 1 AS x") == [{"x": 1}]


def test_a_process_holds_one_store(engine: Engine, tmp_path: Path) -> None:
    for _ in range(2):  # the second time shows that the first left no lock behind
        with pytest.raises(AlreadyRunning, match="another telemetry store"):
            chdb.open_engine(tmp_path / "other", Telemetry())


def test_a_forked_child_is_refused_and_does_not_hang(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_pid", 1)
    with pytest.raises(RuntimeError, match="fork"):
        engine.rows("SELECT 1")


@pytest.mark.parametrize("name", ["a?b=c", "a&b", "a#b", "a%20b"])
def test_a_folder_that_chdb_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidValue):
        chdb.open_engine(tmp_path / name, Telemetry())
    assert not (tmp_path / name).exists()


def test_the_empty_placeholder_of_chdb_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "chdb", types.ModuleType("chdb"))
    with pytest.raises(ProgramMissing, match="placeholder") as missing:
        chdb.open_engine(tmp_path, Telemetry())
    assert "atoll[telemetry]" in str(missing.value.hint)


def test_without_chdb_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "chdb", None)
    with pytest.raises(ProgramMissing, match="cannot be loaded"):
        chdb.open_engine(tmp_path, Telemetry())


def test_a_store_of_a_newer_atoll_is_refused_and_not_changed(either: Engine) -> None:
    newer = len(MIGRATIONS) + 1
    either.command(f"INSERT INTO schema_versions (Version, Name) VALUES ({newer}, 'later')")
    tables = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name"
    before = either.rows(tables)
    try:
        with pytest.raises(StorageIncompatible) as refused:
            migrate(either)
        assert (refused.value.fields["found"], refused.value.fields["known"]) == (newer, newer - 1)
        assert either.rows(tables) == before
    finally:
        either.command(f"ALTER TABLE schema_versions DELETE WHERE Version = {newer} SETTINGS mutations_sync = 2")
    assert migrate(either) == len(MIGRATIONS)


def test_a_migration_that_was_cut_off_is_done_again_and_keeps_what_is_stored(either: Engine) -> None:
    either.insert(otlp.logs([record("kept").SerializeToString()]))
    for name in MIGRATIONS:
        for statement in statements(name):
            either.command(statement)
    assert either.rows("SELECT Body FROM logs") == [{"Body": "kept"}]
    either.insert(otlp.logs([record("once").SerializeToString()]))
    assert either.rows("SELECT count() AS n FROM logs WHERE Body = 'once'") == [{"n": 1}], "no view is there twice"


def test_the_words_of_the_schema_are_all_written_out() -> None:
    for name in MIGRATIONS:
        assert not [statement for statement in statements(name) if "{{" in statement]


def test_a_server_s_store_is_opened_again_with_what_it_has(server: Engine, server_url: str) -> None:
    server.insert(otlp.logs([record("before").SerializeToString()]))
    again = clickhouse.open_engine(server_url, Telemetry())
    assert again.rows("SELECT count() > 0 AS found FROM logs WHERE Body = 'before'") == [{"found": 1}]
    again.close()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8123", "clickhouse://", "clickhouse:///db", "clickhouse://h/a;b", "clickhouse://h/a b", "x"],
)
def test_what_is_no_clickhouse_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidValue, match="not a ClickHouse URL"):
        clickhouse.open_engine(url, Telemetry())


def test_a_server_that_is_away_is_said_to_be(unused_port: int) -> None:
    with pytest.raises(Overloaded, match="does not answer"):
        clickhouse.open_engine(f"clickhouse://user:secret@127.0.0.1:{unused_port}", Telemetry())


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
