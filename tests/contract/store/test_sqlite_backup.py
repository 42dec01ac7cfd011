from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path

import apsw
import pytest

from atoll.errors import (
    AlreadyRunning,
    AtollError,
    Compacted,
    InvalidValue,
    NotFound,
    StorageFailed,
    StorageFull,
    StorageIncompatible,
)
from atoll.settings import Store as StoreSettings
from atoll.store import backup as backups
from atoll.store.backup import LEAP, backup, restore
from atoll.store.base import Revision, Store
from atoll.store.sqlite import DATABASE, open_store
from atoll.testing import FakeClock
from tests.contract.store.words import delete, facts, heard, put

SETTINGS = StoreSettings()


async def fill(store: Store, count: int = 300) -> None:
    await store.commit([put(f"a/{number:03}", "x" * 900) for number in range(count)])


async def test_a_backup_under_writes_is_one_consistent_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "PAGES", 4)
    stop = asyncio.Event()
    async with open_store(tmp_path / "live", SETTINGS, FakeClock()) as store:
        await fill(store)

        async def churn() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                await store.commit(
                    [put(f"a/{number % 300:03}", f"{number}"), put("twin", f"{number}"), delete(f"b/{number}")]
                )

        churning = asyncio.create_task(churn())
        made = [await backup(store, tmp_path / f"{number}.db") for number in range(3)]
        stop.set()
        await churning
        truth = [await store.list("", revision=one.revision) for one in made]
    assert made[0].revision < made[1].revision < made[2].revision
    for one, listing in zip(made, truth, strict=True):
        assert one.path.stat().st_size == one.bytes
        assert one.path.stat().st_mode & 0o777 == 0o600
        restored = restore(one.path, tmp_path / "elsewhere")
        assert restored.backup_revision == one.revision
        async with open_store(tmp_path / "elsewhere", SETTINGS, FakeClock()) as store:
            assert (await store.list("")).entries == listing.entries
    assert names(tmp_path) == ["0.db", "1.db", "2.db", "elsewhere", "live"]


async def test_writes_and_reads_go_on_while_a_backup_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "PAGES", 1)
    async with open_store(tmp_path / "live", SETTINGS, FakeClock()) as store:
        await fill(store)
        making = asyncio.create_task(backup(store, tmp_path / "b.db"))
        written = 0
        while not making.done():
            await store.commit([put("w", str(written))])
            written += 1
        assert written > 20
        assert (await making).revision > 1


async def test_a_restored_store_leaps_so_that_old_watchers_are_told_to_list_anew(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_store(tmp_path, SETTINGS, clock) as store:
        await store.commit([put("a", "old"), put("gone", "old")])
        made = await backup(store, tmp_path / "b.backup")
        for _ in range(10):
            await store.commit([put("a", "new"), delete("gone")])
        last = store.revision
    restored = restore(tmp_path / "b.backup", tmp_path, clock)
    assert (restored.backup_revision, restored.revision) == (made.revision, made.revision + LEAP)
    async with open_store(tmp_path, SETTINGS, clock) as store:
        assert facts(await store.list("")) == {"a": "old", "gone": "old"}
        assert store.revision == store.compacted == restored.revision
        with pytest.raises(Compacted):
            async with store.watch("", start=Revision(last + 1)):
                raise AssertionError("not reached")
        async with store.watch("", start=Revision(store.revision + 1)) as watch:
            await store.commit([put("a", "newest")])
            assert await heard(watch, 2) == [str(restored.revision), f"{restored.revision + 1} +a=newest"]
    assert restored.kept is not None
    assert restored.kept.name == "state.db.before-restore-20261118T110640Z"
    (tmp_path / "kept").mkdir()
    shutil.copy(restored.kept, tmp_path / "kept" / DATABASE)
    async with open_store(tmp_path / "kept", SETTINGS, clock) as store:
        assert (store.revision, facts(await store.list(""))) == (last, {"a": "new"})
    again = restore(tmp_path / "b.backup", tmp_path, clock)
    assert again.kept is not None
    assert again.kept.name == "state.db.before-restore-20261118T110640Z-2"


async def test_what_a_crash_left_in_the_log_is_kept_with_the_previous_database(tmp_path: Path) -> None:
    async with open_store(tmp_path / "live", SETTINGS, FakeClock()) as store:
        await backup(store, tmp_path / "b.db")
        await store.commit([put("a", "only in the log")])
        shutil.copytree(tmp_path / "live", tmp_path / "crashed")
    restored = restore(tmp_path / "b.db", tmp_path / "crashed")
    assert names(tmp_path / "crashed") == [
        "lock",
        "state.db",
        restored.kept.name if restored.kept else "",
    ]
    assert restored.kept is not None
    restored.kept.replace(tmp_path / "crashed" / DATABASE)
    async with open_store(tmp_path / "crashed", SETTINGS, FakeClock()) as store:
        assert facts(await store.list("")) == {"a": "only in the log"}


async def test_leases_are_restored_too(tmp_path: Path) -> None:
    async with open_store(tmp_path / "live", SETTINGS, FakeClock()) as store:
        lease = await store.grant(10)
        await store.commit([put("a", "", lease)])
        await backup(store, tmp_path / "b.db")
    restore(tmp_path / "b.db", tmp_path / "new")
    async with open_store(tmp_path / "new", SETTINGS, FakeClock()) as store:
        assert await store.keep_alive(lease) == 10
        await store.revoke(lease)
        assert facts(await store.list("")) == {}


async def test_a_folder_in_use_is_not_restored(tmp_path: Path) -> None:
    async with open_store(tmp_path / "live", SETTINGS, FakeClock()) as store:
        await backup(store, tmp_path / "b.db")
        with pytest.raises(AlreadyRunning):
            restore(tmp_path / "b.db", tmp_path / "live")
        await store.commit([put("a")])
    assert [path.name for path in (tmp_path / "live").glob("*restore*")] == []


@pytest.mark.parametrize(
    ("case", "refusal"),
    [
        ("absent", NotFound),
        ("empty", StorageIncompatible),
        ("text", StorageIncompatible),
        ("foreign", StorageIncompatible),
        ("newer", StorageIncompatible),
        ("cut", StorageFailed),
        ("flipped", StorageFailed),
        ("own database", InvalidValue),
    ],
)
async def test_a_backup_that_cannot_be_trusted_is_refused_and_the_folder_stays_as_it_was(
    tmp_path: Path, case: str, refusal: type[AtollError]
) -> None:
    folder, source = tmp_path / "live", tmp_path / "b.db"
    async with open_store(folder, SETTINGS, FakeClock()) as store:
        await fill(store)
        await backup(store, source)
    spoil(source, case)
    before = digests(folder)
    with pytest.raises(refusal):
        restore(folder / DATABASE if case == "own database" else source, folder)
    assert digests(folder) == before


async def test_a_backup_over_the_live_database_or_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "live")
    async with open_store(tmp_path / "live", SETTINGS, FakeClock()) as store:
        await fill(store)
        for target in (store.path, tmp_path / "link" / DATABASE, tmp_path / "live/state.db-wal", tmp_path / "no/b.db"):
            with pytest.raises(InvalidValue):
                await backup(store, target)
        with pytest.raises(StorageFailed):
            (tmp_path / "folder").mkdir()
            await backup(store, tmp_path / "folder")
        await store.commit([put("a")])
    assert names(tmp_path) == ["folder", "link", "live"]


async def test_a_backup_that_finds_no_room_leaves_the_store_and_the_older_backup_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "b.db"
    target.write_text("older")

    def create_small(path: Path) -> apsw.Connection:
        connection = create(path)
        connection.pragma("max_page_count", 5)
        return connection

    create = backups._create
    async with open_store(tmp_path / "live", SETTINGS, FakeClock()) as store:
        await fill(store)
        monkeypatch.setattr(backups, "_create", create_small)
        with pytest.raises(StorageFull):
            await backup(store, target)
        assert store.failure is None
        await store.commit([put("a")])
    assert target.read_text() == "older"
    assert names(tmp_path) == ["b.db", "live"]


async def test_a_cancelled_backup_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "PAGES", 2)
    async with open_store(tmp_path / "live", SETTINGS, FakeClock()) as store:
        await fill(store)
        for turns in range(0, 40, 3):
            making = asyncio.create_task(backup(store, tmp_path / "b.db"))
            for _ in range(turns):
                await asyncio.sleep(0.0001)
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
        await store.commit([put("a")])
        left = names(tmp_path)
    assert left in (["live"], ["b.db", "live"])


async def test_a_store_that_closes_ends_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "PAGES", 1)
    async with open_store(tmp_path / "live", SETTINGS, FakeClock()) as store:
        await fill(store)
        making = asyncio.create_task(backup(store, tmp_path / "b.db"))
        while len(names(tmp_path)) == 1:
            await store.commit([put("b")])
        await store.close()
        with pytest.raises(StorageFailed):
            await making
    assert names(tmp_path) == ["live"]
    with pytest.raises(StorageFailed):
        await backup(store, tmp_path / "b.db")


def spoil(source: Path, case: str) -> None:
    if case in {"absent", "foreign"}:
        source.unlink()
    if case in {"foreign", "newer"}:
        connection = apsw.Connection(str(source))
        connection.execute("CREATE TABLE IF NOT EXISTS theirs (x)")
        connection.pragma("user_version", 99)
        connection.close()
    whole = source.read_bytes() if source.exists() else b""
    changed = {
        "empty": b"",
        "text": b"dear diary",
        "cut": whole[: len(whole) // 2],
        "flipped": whole.replace(b"x" * 100, b"x" * 99 + b"y"),
    }
    if case in changed:
        source.write_bytes(changed[case])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != "lock"
    }
