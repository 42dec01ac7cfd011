"""C12: files of a newer atoll, of others, and no databases at all: refused with a code, and not changed by a byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.fault.scenario import Scenario
from tests.fault.scenarios.test_c07_two_on_one_folder import checksums
from tests.fault.store_process import Refused, store_process


def newer(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def newer_and_crashed(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0


def of_another_program(path: Path) -> None:
    path.unlink()
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE notes (text)")
    connection.close()


def with_another_owner(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA application_id = 1234")
    connection.close()


def text(path: Path) -> None:
    path.write_text("these are my notes, please do not touch them\n" * 200)


def half(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "newer": (newer, "storage-incompatible"),
    "newer and crashed": (newer_and_crashed, "storage-incompatible"),
    "of another program": (of_another_program, "storage-incompatible"),
    "with another owner": (with_another_owner, "storage-incompatible"),
    "text": (text, "storage-incompatible"),
    "half": (half, "storage-failed"),
}


def without_lock(sums: dict[str, str]) -> dict[str, str]:
    return {name: total for name, total in sums.items() if name != "lock"}


@pytest.mark.parametrize("kind", FILES)
async def test_a_file_that_is_not_ours_to_open_is_refused_and_untouched(scenario: Scenario, kind: str) -> None:
    make, code = FILES[kind]
    async with store_process(scenario.state()) as store:
        for number in range(20):
            await store.commit({f"web/{number}": "v" * 3000})
        assert await store.close() == 0
    make(scenario.state() / "state.db")
    before = checksums(scenario.state())
    with pytest.raises(Refused) as refusal:
        async with store_process(scenario.state()):
            pass
    assert refusal.value.code == code
    after = checksums(scenario.state())
    if "state.db-wal" not in before and "state.db-wal" in after:
        assert (
            scenario.state() / "state.db-wal"
        ).stat().st_size == 0  # looking at a file in WAL mode leaves an empty log
        del after["state.db-wal"]
    assert without_lock(after) == without_lock(before)


async def test_an_empty_file_becomes_a_store(scenario: Scenario) -> None:
    (scenario.state() / "state.db").touch()
    async with store_process(scenario.state()) as store:
        assert await store.commit({"web/a": "1"}) == 1
