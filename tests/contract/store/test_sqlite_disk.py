"""What only an engine with a disk promises: durable before the answer, and honest when the disk is not."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
import uvloop

from atoll.errors import AlreadyRunning, AtollError, StorageFailed, StorageFull, StorageIncompatible
from atoll.kit.clock import SystemClock
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store import journal, schema
from atoll.store.base import Revision
from atoll.store.sqlite import DATABASE, SqliteStore, open_store
from atoll.testing import FakeClock
from tests.contract.store.disk import Disk
from tests.contract.store.words import delete, expect, facts, heard, put

SETTINGS = StoreSettings()


@pytest.fixture
def disk() -> Iterator[Disk]:
    with Disk() as disk:
        yield disk


# ---- durability


async def test_a_commit_is_answered_after_its_log_is_synced(tmp_path: Path, disk: Disk) -> None:
    async with open_store(tmp_path, SETTINGS, FakeClock(), vfs=disk.name) as store:
        for number in range(10):
            before = disk.syncs["wal"]
            await store.commit([put("a", str(number))])
            assert disk.syncs["wal"] == before + 1


async def test_commits_of_one_moment_share_a_sync(tmp_path: Path, disk: Disk) -> None:
    async with open_store(tmp_path, SETTINGS, FakeClock(), vfs=disk.name) as store:
        before = disk.syncs["wal"]
        await asyncio.gather(*(store.commit([put(f"a/{number}")]) for number in range(100)))
        assert disk.syncs["wal"] <= before + 2  # the first starts at once, the others gather meanwhile
        assert store.revision == 100


async def test_a_watcher_hears_nothing_that_is_not_durable(tmp_path: Path, disk: Disk) -> None:
    async with open_store(tmp_path, SETTINGS, FakeClock(), vfs=disk.name) as store, store.watch("") as watch:
        assert await heard(watch, 1) == ["0"]
        reading = asyncio.ensure_future(anext(watch))
        disk.full = True
        with pytest.raises(StorageFull):
            await store.commit([put("a", "lost")])
        disk.full = False
        await store.commit([put("a", "kept")])
        assert [event.entry.value for event in (await reading).events] == [b"kept"]
        assert (await reading).revision == 1


WRITER = """
import asyncio, sys
from pathlib import Path
from atoll.kit.clock import SystemClock
from atoll.settings import Store
from atoll.store.base import Put
from atoll.store.sqlite import open_store

async def main():
    async with open_store(Path(sys.argv[1]), Store(history=300), SystemClock()) as store:
        async def writer(name):
            for number in range(10**9):
                revision = await store.commit([Put(f"w/{name}/{number % 50}", b"%d" % number), Put(f"last/{name}", b"%d" % number)])
                sys.stdout.write(f"{revision} {name} {number}\\n")
                sys.stdout.flush()
        await asyncio.gather(*(writer(name) for name in "abcde"))

asyncio.run(main())
"""


def start_writer(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("lines", [1, 57, 400, 3000])
async def test_everything_acknowledged_before_a_kill_9_is_found_and_no_commit_is_torn(
    tmp_path: Path, lines: int
) -> None:
    acknowledged: dict[str, tuple[int, int]] = {}
    with start_writer(tmp_path) as process:
        assert process.stdout is not None
        for count, line in enumerate(process.stdout):
            if count == lines:
                process.kill()  # what it still answered before it died is read as well
            words = line.split()
            acknowledged[words[1]] = (int(words[0]), int(words[2]))
    async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
        for name, (revision, number) in acknowledged.items():
            last = await store.get(Key(f"last/{name}"))
            assert last is not None
            found = int(last.value)
            assert (last.modified, found) >= (revision, number)
            assert found <= number + 1, "at most the one that was not answered"
            twin = await store.get(Key(f"w/{name}/{found % 50}"))
            assert twin is not None
            assert (int(twin.value), twin.modified) == (found, last.modified)


# ---- a disk that fails


@pytest.mark.parametrize("sync", [1, 2, 3, 7])
async def test_a_sync_that_fails_is_never_acknowledged_and_ends_all_writing(
    tmp_path: Path, disk: Disk, sync: int
) -> None:
    acknowledged = 0
    async with open_store(tmp_path, SETTINGS, FakeClock(), vfs=disk.name) as store:
        failing = asyncio.create_task(store.failing())
        lease = await store.grant(10)
        disk.broken_sync = sync
        with pytest.raises(StorageFailed):
            for number in range(1, 10):
                assert await store.commit([put(f"a/{number}")]) == number
                acknowledged = number
        assert acknowledged == sync - 1
        for call in (store.commit([put("b")]), store.grant(5), store.revoke(lease), store.compact(Revision(0))):
            with pytest.raises(StorageFailed):
                await call
        assert await store.keep_alive(lease) == 10
        assert store.revision == acknowledged
        assert len(facts(await store.list("a/"))) == acknowledged
        with pytest.raises(StorageFailed):
            await failing
    async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
        assert acknowledged <= store.revision <= acknowledged + 1
        assert len(facts(await store.list("a/"))) == store.revision
        assert await store.keep_alive(lease) == 10


async def test_a_failing_group_fails_everybody_in_it_and_everybody_who_waits(tmp_path: Path, disk: Disk) -> None:
    async with open_store(tmp_path, SETTINGS, FakeClock(), vfs=disk.name) as store:
        await store.commit([put("a")])
        disk.broken = True
        outcomes = await asyncio.gather(
            store.commit([put("b")]),
            store.commit([put("c")]),
            store.commit([put("d")], expect=[expect("a", 9)]),
            store.grant(5),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [StorageFailed] * 4
        assert store.revision == 1


async def test_a_sync_that_fails_in_a_checkpoint_is_not_hidden(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.store.sqlite.CHECKPOINT_PAGES", 20)
    async with open_store(tmp_path, SETTINGS, FakeClock(), vfs=disk.name) as store:
        failing = asyncio.create_task(store.failing())
        disk.broken_kind, before = "db", disk.syncs["db"]
        acknowledged = 0
        with pytest.raises(StorageFailed):
            for number in range(1, 100):
                acknowledged = await store.commit([put(f"a/{number}", "x" * 500)])
        with pytest.raises(StorageFailed):
            await failing
        assert (disk.broken_kind, disk.syncs["db"]) == ("", before + 1), "the checkpoint is not tried again"
    assert (tmp_path / "state.db-wal").stat().st_size > 0, "the log stays, for it is the only copy"
    async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
        assert len(facts(await store.list("a/"))) >= acknowledged > 0


async def test_the_log_is_checkpointed_and_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.store.sqlite.CHECKPOINT_PAGES", 50)
    async with open_store(tmp_path, StoreSettings(history=100), FakeClock()) as store:
        for number in range(500):
            await store.commit([put(f"a/{number % 20}", "x" * 2000)])
        assert (tmp_path / "state.db-wal").stat().st_size < 100 * 4200
        assert store.path.stat().st_size < 200 * 4096


async def test_a_full_disk_refuses_writes_keeps_reads_and_renewals_and_heals_by_itself(
    tmp_path: Path, disk: Disk
) -> None:
    clock = FakeClock()
    async with open_store(tmp_path, SETTINGS, clock, vfs=disk.name) as store:
        lease = await store.grant(10)
        await store.commit([put("a", "1", lease)])
        async with store.watch("", start=Revision(1), progress=5) as watch:
            disk.full = True
            outcomes = await asyncio.gather(
                *(store.commit([put(f"b/{n}", "x" * 5000)]) for n in range(5)), store.grant(5), return_exceptions=True
            )
            assert {type(outcome) for outcome in outcomes} == {StorageFull}
            assert store.failure is None
            assert facts(await store.list("")) == {"a": "1"}
            assert await heard(watch, 2) == ["1 +a=1", "1"]
            for _ in range(4):
                await clock.advance(5)
                assert await heard(watch, 1) == ["1"]
                assert await store.keep_alive(lease) == 10
            disk.full = False
            assert await store.commit([put("b")]) == 2
            assert await heard(watch, 1) == ["2 +b="]
    async with open_store(tmp_path, SETTINGS, clock) as store:
        assert facts(await store.list("")) == {"a": "1", "b": ""}


async def test_a_lease_that_lapses_while_the_disk_is_full_is_ended_when_there_is_room(
    tmp_path: Path, disk: Disk
) -> None:
    clock = FakeClock()
    async with open_store(tmp_path, SETTINGS, clock, vfs=disk.name) as store:
        await store.commit([put("a", "", await store.grant(10))])
        async with store.watch("", progress=999) as watch:
            await heard(watch, 1)
            disk.full = True
            await clock.advance(11)
            with pytest.raises(StorageFull):
                await store.commit([put("b")])
            disk.full = False
            ended = asyncio.ensure_future(anext(watch))
            while not ended.done():
                await clock.advance(1)
                await asyncio.sleep(0.001)
            assert (await ended).events[0].entry.key == "a"


# ---- who may open it


async def test_a_second_control_plane_on_the_folder_is_refused_at_once_and_told_who_is_there(tmp_path: Path) -> None:
    with start_writer(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(AlreadyRunning) as caught:
            async with open_store(tmp_path, SETTINGS, FakeClock()):
                raise AssertionError("not reached")
        process.kill()
    assert caught.value.fields == {"pid": process.pid}
    async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
        assert store.revision > 0, "the lock died with its holder"


FOREIGN = """
import sqlite3, sys
foreign = sqlite3.connect(sys.argv[1], timeout=0)
for statement in sys.argv[2:]:
    try:
        print(foreign.execute(statement).fetchall(), flush=True)
    except sqlite3.OperationalError as error:
        print(error, flush=True)
sys.stdin.read()
"""


def foreign(path: Path, *statements: str) -> list[str]:
    """What another program's SQLite is told. (In our own process it would not see our locks, and drop them.)"""
    command = [sys.executable, "-c", FOREIGN, str(path), *statements]
    return subprocess.run(command, input="", capture_output=True, text=True, check=True).stdout.splitlines()


async def test_no_other_sqlite_can_touch_the_file_while_it_is_open(tmp_path: Path) -> None:
    async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
        await store.commit([put("a")])
        statements = ("DELETE FROM log", "SELECT count(*) FROM log", "PRAGMA wal_checkpoint(TRUNCATE)")
        assert foreign(store.path, *statements) == ["database is locked"] * 3
        await store.commit([put("b")])
    assert foreign(tmp_path / DATABASE, "SELECT count(*) FROM log") == ["[(2,)]"]


def start_holder(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FOREIGN, str(path), "BEGIN IMMEDIATE"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def test_a_file_that_another_program_holds_is_not_opened(tmp_path: Path) -> None:
    async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
        await store.commit([put("a")])
    with start_holder(tmp_path / DATABASE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "[]\n"
        with pytest.raises(AlreadyRunning):
            async with open_store(tmp_path, SETTINGS, FakeClock()):
                raise AssertionError("not reached")
        holder.kill()
    async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
        assert store.revision == 1


async def test_a_folder_that_cannot_be_made_is_a_clear_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file/state"):
        with pytest.raises(StorageFailed, match="file"):
            async with open_store(folder, SETTINGS, FakeClock()):
                raise AssertionError("not reached")


async def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with open_store(folder, SETTINGS, FakeClock()) as store:
        await store.commit([put("a")])
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
            "state.db": 0o600,
            "state.db-wal": 0o600,
            "lock": 0o600,
        }


# ---- what is in the file


async def test_a_file_of_a_newer_atoll_is_refused_and_not_changed_by_a_byte(tmp_path: Path) -> None:
    async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
        await store.commit([put("a")])
    newer = apsw.Connection(str(tmp_path / DATABASE))
    newer.pragma("user_version", 99)
    newer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # as a crash would leave it: the news stand in the log
    newer.close()
    before = contents(tmp_path)
    assert before["state.db-wal"]
    with pytest.raises(StorageIncompatible) as caught:
        async with open_store(tmp_path, SETTINGS, FakeClock()):
            raise AssertionError("not reached")
    assert (caught.value.fields["found"], caught.value.fields["known"]) == (99, len(schema.MIGRATIONS))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", ["another program's database", "text", "tables without an id"])
async def test_a_file_that_is_not_ours_is_refused_and_not_changed_by_a_byte(tmp_path: Path, kind: str) -> None:
    path = tmp_path / DATABASE
    if kind == "text":
        path.write_text("dear diary, " * 100)
    else:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE theirs (x)")
        other.execute(f"PRAGMA application_id = {7 if kind.startswith('another') else 0}")
        other.commit()
        other.close()
    before = contents(tmp_path)
    with pytest.raises(StorageIncompatible):
        async with open_store(tmp_path, SETTINGS, FakeClock()):
            raise AssertionError("not reached")
    assert contents(tmp_path) == before


async def test_an_older_file_is_migrated_and_keeps_its_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
        await store.commit([put("a", "old")])
    further = (*schema.MIGRATIONS, "CREATE TABLE later (x ANY) STRICT;", "INSERT INTO later VALUES (1);")
    monkeypatch.setattr(journal, "check", lambda connection: schema.check(connection, further))
    monkeypatch.setattr(journal, "migrate", lambda connection: schema.migrate(connection, (*further[:2], "nonsense")))
    with pytest.raises(StorageFailed):
        async with open_store(tmp_path, SETTINGS, FakeClock()):
            raise AssertionError("not reached")
    monkeypatch.setattr(journal, "migrate", lambda connection: schema.migrate(connection, further))
    for _ in range(2):
        async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
            assert facts(await store.list("")) == {"a": "old"}
            found = await store.on_writer(lambda file: file.connection.execute("SELECT count(*) FROM later").get)
            assert found == 1, "each step once, and none of the failed try"


async def test_a_flipped_byte_is_refused_or_harmless_but_never_a_wrong_answer(tmp_path: Path) -> None:
    good = tmp_path / "good"
    async with open_store(good, SETTINGS, FakeClock()) as store:
        for number in range(60):
            await store.commit([put(f"a/{number % 25}", f"{number}" * 40), delete(f"a/{(number * 7) % 25}x")])
        await store.compact(Revision(20))
        truth = (await store.list(""), await store.list("", revision=Revision(30)))
    whole = (good / DATABASE).read_bytes()
    refused = 0
    for place in range(0, len(whole), len(whole) // 150):
        folder = tmp_path / "flipped"
        folder.mkdir()
        (folder / DATABASE).write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            async with open_store(folder, SETTINGS, FakeClock()) as store:
                assert (await store.list(""), await store.list("", revision=Revision(30))) == truth, place
        except (StorageFailed, StorageIncompatible) as refusal:
            assert refusal.hint
            refused += 1
        shutil.rmtree(folder)
    assert refused > 20


async def test_a_torn_log_leaves_a_prefix_of_what_was_committed(tmp_path: Path) -> None:
    async with open_store(tmp_path / "live", SETTINGS, FakeClock()) as store:
        for number in range(1, 13):
            await store.commit([put("a", str(number)), put(f"b/{number}", "x" * 1500)])
        log = (tmp_path / "live/state.db-wal").read_bytes()
        shutil.copytree(tmp_path / "live", tmp_path / "copied")
    frame = 24 + 4096
    cuts = [edge + off for edge in range(32, len(log), frame * 3) for off in (-1, 0, 1, frame // 2)]
    found = set()
    for cut in [*cuts, len(log)]:
        folder = tmp_path / "torn"
        shutil.copytree(tmp_path / "copied", folder)
        (folder / "state.db-wal").write_bytes(log[:cut])
        async with open_store(folder, SETTINGS, FakeClock()) as store:
            entry = await store.get(Key("a"))
            assert int(entry.value if entry else 0) == store.revision
            assert len(facts(await store.list("b/"))) == store.revision
            found.add(store.revision)
        shutil.rmtree(folder)
    assert min(found) == 0
    assert max(found) == 12


# ---- event loops


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_both_event_loops_serve(tmp_path: Path, run: object) -> None:
    async def main() -> list[str]:
        async with open_store(tmp_path, SETTINGS, SystemClock()) as store, store.watch("a/") as watch:
            await asyncio.gather(*(store.commit([put(f"a/{number}")]) for number in range(20)))
            assert len((await store.list("a/")).entries) == 20
            return await heard(watch, 21)

    assert callable(run)
    assert run(main())[-1].startswith("20 +a/")


async def test_cancelling_the_opening_leaves_the_folder_free(tmp_path: Path) -> None:
    for turns in range(6):

        async def body() -> SqliteStore | None:
            async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
                return store

        task = asyncio.create_task(body())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    try:
        async with open_store(tmp_path, SETTINGS, FakeClock()) as store:
            await store.commit([put("a")])
    except AtollError as error:
        raise AssertionError("the lock was left behind") from error


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
